"""Says which model to load ahead: from the agents asked before, and from what is being typed."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orion.errors import OrionError
from orion.preload.ledger import Ledger
from orion.preload.loads import Loads
from orion.preload.prediction import Kind, Prediction
from orion.preload.transitions import Transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orion.clock import Clock
    from orion.logs import Log
    from orion.settings import PredictionSettings

SESSIONS_MAX = 1000
OPEN_MAX = 4
"""Predictions of one kind between two requests of a session."""
DRAFT_BURST = 2.0
DRAFT_GAP_S = 2.0
"""After `DRAFT_BURST` of them at once, a session's drafts may cause one load per this time."""


@dataclass(slots=True)
class _Session:
    """What waits for a session's next request, and how many loads its drafts may cause now."""

    open: dict[Kind, list[Prediction]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    tokens: float = DRAFT_BURST
    filled_s: float = 0.0

    def may_draft(self, now_s: float) -> bool:
        """Take a token from the bucket, where there is one."""
        refilled = self.tokens + (now_s - self.filled_s) / DRAFT_GAP_S
        self.tokens, self.filled_s = min(DRAFT_BURST, refilled), now_s
        allowed = self.tokens >= 1
        self.tokens -= allowed
        return allowed


class Preloader:
    """Predicts models, and keeps the ledgers that say whether that pays.

    It loads nothing: its callers do. Every method may be called from any thread, takes
    microseconds, and keeps no text. `models_of` gives the model of an agent.
    """

    def __init__(
        self,
        models_of: Callable[[str], str],
        settings: PredictionSettings,
        clock: Clock,
        log: Log | None = None,
    ) -> None:
        self._models_of = models_of
        self._settings = settings
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._transitions = Transitions(sessions_max=SESSIONS_MAX)
        self._loads = Loads()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._ledgers = {kind: Ledger(kind, window=settings.window) for kind in Kind}

    def requested(self, session: str | None, agent: str, model: str) -> None:
        """A real request was routed: judge what was predicted for its session, and learn.

        A model that was asked for by its own id teaches nothing about agents.
        """
        if not self._settings.enabled or not session:
            return
        teaches = self._model(agent) == model
        with self._lock:
            if teaches:
                self._transitions.observe(session, agent)
            known = self._session(session)
            for kind, predictions in known.open.items():
                for prediction in predictions:
                    self._judge(kind, prediction, model)
                predictions.clear()

    def after_answer(self, session: str | None) -> str | None:
        """The model to load now for the next request of `session`, or None."""
        if not self._settings.enabled or not session:
            return None
        with self._lock:
            drafts = self._session(session).open[Kind.DRAFT]
            if drafts and not drafts[-1].silent:  # what is typed says more than habits do
                return self._again(drafts[-1])
            agents = self._transitions.next_agents(session)
        ratios: dict[str, float] = {}
        for agent, ratio in agents.items():
            if model := self._model(agent):
                ratios[model] = ratios.get(model, 0.0) + ratio
        with self._lock:  # of two that are as likely, the one that is there
            there = self._loads.resident
            best = max(ratios, key=lambda model: (ratios[model], model in there), default="")
            if not best or ratios[best] < self._settings.confidence:
                return None
            known = self._session(session)
            self._drop(Kind.TRANSITION, known.open[Kind.TRANSITION])
            told = self._review(Kind.TRANSITION)
            chosen = self._predict(Kind.TRANSITION, known, best)
        self._tell(told)
        return chosen

    def draft(self, session: str | None, agent: str, confidence: float, model: str) -> str | None:
        """The model to load now for the message being typed in `session`, or None.

        Args:
            session: Whose; None is nobody, for whom nothing is loaded.
            agent: Where the router would send the draft as it stands.
            confidence: How surely, in [0, 1].
            model: The model of `agent`.
        """
        settings = self._settings
        wanted = settings.enabled and settings.drafts and confidence >= settings.confidence
        if not session or not agent or not wanted:
            return None
        with self._lock:
            now_s = self._clock.now()
            known = self._session(session)
            before = known.open[Kind.DRAFT]
            is_new = not before or before[-1].model != model
            if self._loads.is_there(model, now_s) or not known.may_draft(now_s):
                return None
            if not is_new:
                return self._again(before[-1])
            self._drop(Kind.DRAFT, [one for one in before if one.model == model])
            before[:] = [one for one in before if one.model != model]
            told = self._review(Kind.DRAFT)
            chosen = self._predict(Kind.DRAFT, known, model) if len(before) < OPEN_MAX else None
        self._tell(told)
        return chosen

    def on_event(self, event: str, model: str, facts: Mapping[str, Any]) -> None:
        """Hear what the dispatcher did; see its `observer`. Unknown events are none."""
        if not self._settings.enabled:
            return
        speculative = bool(facts.get("speculative"))
        with self._lock:
            if event == "loaded":
                self._loaded(model, float(facts.get("seconds") or 0.0), speculative=speculative)
            elif event == "gone":
                unused = self._loads.gone(model, self._clock.now())
                if unused is not None:
                    self._ledgers[unused.kind].unused(unused)
            elif event == "declined":
                if prediction := self._loads.declined(model):
                    prediction.declined = True
            elif event == "granted":
                self._granted(model, facts, speculative=speculative)

    def forget(self, session: str | None) -> None:
        """Drop what is known of a session that is over."""
        with self._lock:
            self._transitions.forget(session or "")
            if known := self._sessions.pop(session or "", None):
                self._drop_all(known)

    def stats(self) -> dict[str, Any]:
        """Whether it loads anything, why not, and what it was worth; plain values."""
        settings = self._settings
        with self._lock:
            ledgers = {str(kind): ledger.as_dict() for kind, ledger in self._ledgers.items()}
        if not settings.enabled:
            reason = "preload is off: ORION_PREDICTION__ENABLED"
        else:
            reason = "; ".join(ledger["reason"] for ledger in ledgers.values() if ledger["reason"])
        usable = [Kind.TRANSITION, Kind.DRAFT] if settings.drafts else [Kind.TRANSITION]
        return {
            "enabled": settings.enabled,
            "drafts": settings.enabled and settings.drafts,
            "active": settings.enabled and any(ledgers[kind]["active"] for kind in usable),
            "reason": reason,
            **ledgers,
        }

    def _model(self, agent: str) -> str:
        """The model of `agent`; "" where there is none any more."""
        try:
            return self._models_of(agent)
        except (OrionError, KeyError):
            return ""

    def _session(self, name: str) -> _Session:
        known = self._sessions.pop(name, None) or _Session(filled_s=self._clock.now())
        self._sessions[name] = known
        while len(self._sessions) > SESSIONS_MAX:
            self._drop_all(self._sessions.popitem(last=False)[1])
        return known

    def _predict(self, kind: Kind, known: _Session, model: str) -> str | None:
        now_s = self._clock.now()
        if self._loads.is_there(model, now_s):
            return None
        ledger = self._ledgers[kind]
        prediction = Prediction(
            kind=kind,
            model=model,
            kept=frozenset(self._loads.resident),
            began_s=now_s,
            silent=not ledger.active,
        )
        ledger.made += 1
        known.open[kind].append(prediction)
        if prediction.silent:
            return None
        self._loads.began(prediction)
        return model

    def _again(self, prediction: Prediction) -> str | None:
        """Ask again for a load that was declined: then somebody waited, or was being answered."""
        now_s = self._clock.now()
        if not prediction.declined or self._loads.is_there(prediction.model, now_s):
            return None
        prediction.declined, prediction.began_s = False, now_s
        self._loads.began(prediction)
        return prediction.model

    def _judge(self, kind: Kind, prediction: Prediction, asked: str) -> None:
        """What a silent one would have saved or lost is reckoned from the loads measured."""
        now_s = self._clock.now()
        if asked == prediction.model:
            prediction.asked_s = now_s
        if prediction.silent and asked == prediction.model:
            ahead_s = now_s - prediction.began_s
            prediction.saved_s = min(self._loads.seconds(asked), ahead_s)
        elif prediction.silent and asked in prediction.kept:
            prediction.lost_s = self._loads.seconds(asked)
        self._ledgers[kind].judge(prediction, asked)

    def _loaded(self, model: str, seconds: float, *, speculative: bool) -> None:
        prediction = self._loads.loaded(model, seconds, speculative=speculative)
        if prediction is None:
            return
        if speculative:
            self._ledgers[prediction.kind].loaded(prediction)
        else:
            self._ledgers[prediction.kind].lost(prediction, seconds)

    def _granted(self, model: str, facts: Mapping[str, Any], *, speculative: bool) -> None:
        """A request that came during the load saved what had passed of it."""
        used = self._loads.granted(model)
        if used is None:
            return
        if not speculative:
            used.saved_s = 0.0
            return
        asked_s = self._clock.now() if used.asked_s is None else used.asked_s
        load_s = float(facts.get("load_s_saved") or 0.0)
        # Asked for by another session than the one it was predicted for, `asked_s` is not known.
        ahead_s = min(asked_s - used.began_s, float(facts.get("ahead_s", math.inf)))
        saved_s = min(load_s, ahead_s)
        ledger = self._ledgers[used.kind]
        ledger.saved(used, 0.0 if used.repairs else saved_s)
        if used.repairs and load_s > saved_s:
            ledger.lost(used, load_s - saved_s)

    def _drop(self, kind: Kind, predictions: list[Prediction]) -> None:
        self._ledgers[kind].dropped += len(predictions)
        predictions.clear()

    def _drop_all(self, known: _Session) -> None:
        for kind, predictions in known.open.items():
            self._drop(kind, predictions)

    def _review(self, kind: Kind) -> Ledger | None:
        """The ledger of `kind` where it went off or on just now."""
        ledger = self._ledgers[kind]
        return ledger if ledger.review() else None

    def _tell(self, ledger: Ledger | None) -> None:
        if ledger is None or self._log is None:
            return
        if ledger.active:
            self._log.info("preload.on", kind=str(ledger.kind))
        else:
            self._log.info("preload.off", kind=str(ledger.kind), reason=ledger.reason)

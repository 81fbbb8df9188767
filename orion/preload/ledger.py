"""What the predictions of one kind were worth, against keeping the last model."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.preload.prediction import Kind, Prediction

ON_MARGIN = 1.25
"""Seconds to be saved per second lost before a ledger that is off goes on again."""
_MIN_SHARE = 2
_REASON = (
    "{kind} preload is off: of the last {judged} predictions {hits} were right, where keeping the "
    "last model was {kept} times; it saved {saved_s:.1f} s and lost {lost_s:.1f} s"
)


class Ledger:
    """Counts of one kind of prediction, and whether acting on them pays.

    It goes off when, over its latest predictions since it went on (at least half of `window`,
    at most all), it saved no more seconds than it lost; and on again when over a whole
    `window` of silent ones it would have saved `ON_MARGIN` times what it would have lost.
    Between the two lies the band in which it stays what it is. Not thread-safe.

    Attributes:
        active: Whether models may be loaded for these predictions.
        reason: Why not, with figures; "" where active.
    """

    def __init__(self, kind: Kind, *, window: int) -> None:
        self.kind = kind
        self.active = True
        self.reason = ""
        self._window = window
        # Of each that was judged or has cost something: whether it was right, and whether the
        # model asked for was there anyway.
        self._judged: deque[tuple[Prediction, bool, bool]] = deque(maxlen=window)
        self.made = self.hits = self.kept = self.neither = self.dropped = 0
        self.switches = 0
        self.loads = self.used = self.wasted = self.given_up = 0
        self.saved_s = self.lost_s = 0.0

    @property
    def open(self) -> int:
        """Predictions that nobody has proved right or wrong yet."""
        return self.made - self.hits - self.kept - self.neither - self.dropped

    @property
    def judged(self) -> int:
        """Predictions that were followed by a request."""
        return self.hits + self.kept + self.neither

    def judge(self, prediction: Prediction, asked: str) -> None:
        """A real request in its session needs the model `asked`."""
        hit, kept = asked == prediction.model, asked in prediction.kept
        self.hits += hit
        self.kept += kept and not hit
        self.neither += not hit and not kept
        self._note(prediction, hit=hit, kept=kept and not hit)

    def loaded(self, prediction: Prediction) -> None:
        """Its model is resident, and nobody has asked for it yet."""
        self.loads += 1
        prediction.loaded = True

    def unused(self, prediction: Prediction) -> None:
        """Its model left without having been used, or its load was given up."""
        self.wasted += prediction.loaded
        self.given_up += not prediction.loaded
        prediction.saved_s = 0.0

    def saved(self, prediction: Prediction, seconds: float) -> None:
        """A real request found its model, `seconds` sooner than by loading it then."""
        self.used += prediction.loaded
        self.saved_s += seconds
        prediction.saved_s = seconds

    def lost(self, prediction: Prediction, seconds: float) -> None:
        """A real request waited `seconds` for a model that this prediction's load displaced.

        That counts at once: who typed it may never ask for anything.
        """
        self.lost_s += seconds
        prediction.lost_s += seconds
        if not prediction.judged:
            self._note(prediction, hit=False, kept=True)

    def balance(self) -> tuple[float, float]:
        """Seconds saved and seconds lost by the latest predictions, so far as known."""
        saved_s = sum(prediction.saved_s or 0.0 for prediction, *_ in self._judged)
        return saved_s, sum(prediction.lost_s for prediction, *_ in self._judged)

    def review(self) -> bool:
        """Go off or on where the figures say so; True when that changed."""
        settled = sum(
            not one.declined and (not hit or one.saved_s is not None)
            for one, hit, _ in self._judged
        )
        saved_s, lost_s = self.balance()
        if self.active:
            changes = settled >= max(1, self._window // _MIN_SHARE) and saved_s <= lost_s
        else:
            changes = settled >= self._window and saved_s > ON_MARGIN * lost_s
        if not changes:
            return False
        self.active = not self.active
        self.switches += 1
        self.reason = "" if self.active else _REASON.format(kind=self.kind, **self._latest())
        self._judged.clear()
        return True

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; seconds of silent predictions count in `latest` only."""
        return {
            "active": self.active,
            "reason": self.reason,
            "switches": self.switches,
            "predictions": self.made,
            "hits": self.hits,
            "baseline_hits": self.kept,
            "neither": self.neither,
            "dropped": self.dropped,
            "open": self.open,
            "loads": self.loads,
            "used": self.used,
            "wasted": self.wasted,
            "given_up": self.given_up,
            "saved_s": round(self.saved_s, 3),
            "lost_s": round(self.lost_s, 3),
            "latest": {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in self._latest().items()
            },
        }

    def _note(self, prediction: Prediction, *, hit: bool, kept: bool) -> None:
        """Enter it among the latest, once; a later verdict replaces an earlier one."""
        entry = (prediction, hit, kept)
        for index, (known, *_) in enumerate(self._judged):
            if known is prediction:
                self._judged[index] = entry
                return
        if not prediction.judged:
            prediction.judged = True
            self._judged.append(entry)

    def _latest(self) -> dict[str, Any]:
        saved_s, lost_s = self.balance()
        return {
            "judged": len(self._judged),
            "hits": sum(hit for _, hit, _ in self._judged),
            "kept": sum(kept for *_, kept in self._judged),
            "saved_s": saved_s,
            "lost_s": lost_s,
        }

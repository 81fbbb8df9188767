"""The public face of the engine: ask, stream, load, unload, look inside, stop."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from orion.engine.drafts import consider
from orion.engine.fault_desk import FaultDesk
from orion.engine.residency import let_go, make_resident
from orion.engine.walk import Walk
from orion.errors import (
    InvalidQueryError,
    OrionError,
    ShuttingDownError,
    UnknownAgentError,
)
from orion.guardrails import validate
from orion.registry import CONVERSATION_AGENT
from orion.types import AUTO, Answer, ErrorEvent, FinalEvent, Query

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from orion.breakers import Breaker
    from orion.engine.reload import Reloader
    from orion.engine.report import Report
    from orion.engine.services import Services
    from orion.logs import Log
    from orion.metrics import Metrics
    from orion.registry import Registry
    from orion.settings import Settings
    from orion.types import Event, Route


class Engine:
    """Answers people with small models. Make one with `orion.build_engine`.

    Every method may be called from any thread. A context manager: leaving it shuts
    the engine down.
    """

    def __init__(
        self, services: Services, settings: Settings, report: Report, reloader: Reloader
    ) -> None:
        self._services = services
        self._reloader = reloader
        self._report = report
        self.settings = settings
        self._fault_desk = FaultDesk(services, enabled=settings.faults)
        self._walks: dict[str, Walk] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._expects_preload = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()

    @property
    def registry(self) -> Registry:
        """The agents and models there are now; a reload replaces it as a whole."""
        return self._services.registry

    @property
    def log(self) -> Log:
        """Where this engine writes."""
        return self._services.log

    @property
    def metrics(self) -> Metrics:
        """What is counted and timed."""
        return self._services.metrics

    def stream(self, text: Any, **options: Any) -> Generator[Event]:
        """Answer `text`, event by event.

        Args:
            text: The message.
            **options: Any other field of `orion.types.Query`: `agent` ("auto", an agent
                id or a model id), `history` (messages of `role` and `content`, oldest
                first), `system_prompt`, `max_tokens`, `temperature`, `top_p`, `top_k`,
                `min_p`, `repetition_penalty`, `seed`, `stop`, `session`,
                `trim_history`, `request_id`.

        Yields:
            Events of `orion.types`; the last is a `FinalEvent` or an `ErrorEvent`, and
            no `OrionError` is raised. Closing the iterator cancels the request.

        Raises:
            TypeError: An option is not a field of `Query`.
        """
        given = {name: value for name, value in options.items() if value is not None}
        return self.run(Query(text=text, **given))

    def run(self, query: Query) -> Generator[Event]:
        """Answer a query; see `stream`."""
        walk = Walk(self._services, query)
        key = str(query.request_id)
        with self._lock:
            taken = key in self._walks
            if not taken:
                self._walks[key] = walk
        try:
            if taken:
                reason = "is the id of a request under way"
                yield from walk.refusal(InvalidQueryError(field="request_id", reason=reason))
            elif self._closed:
                yield from walk.refusal(ShuttingDownError())
            else:
                yield from walk.events()
        finally:
            if not taken:
                with self._lock:
                    self._walks.pop(key, None)

    def ask(self, text: Any, **options: Any) -> Answer:
        """Answer `text` as a whole; options as for `stream`.

        Raises:
            OrionError: The request failed or was refused; see its `code`, and in
                `partial_text` what had been written before it failed.
        """
        for event in self.stream(text, **options):
            if isinstance(event, FinalEvent):
                return event.answer
            if isinstance(event, ErrorEvent):
                event.error.partial_text = event.text
                raise event.error
        raise OrionError

    def route(self, text: Any, history: Any = None) -> Route:
        """Which agent would answer, without asking it.

        Raises:
            InvalidQueryError: `text` or `history` is no valid input.
        """
        query = validate(Query(text=text, history=history), names=(), limits=self._services.limits)
        return self._services.router.route(query.text, query.history)

    def draft(
        self, text: Any, *, session: Any = None, agent: Any = AUTO, history: Any = None
    ) -> dict[str, Any]:
        """Where a message that is still being typed would go; its model may be loaded ahead.

        The draft is neither kept nor logged.

        Returns:
            `agent`, `confidence`, `abstained`, `model`, `resident`, `warming`.

        Raises:
            InvalidQueryError: It could not be sent as it is.
        """
        return consider(self._services, text, session=session, agent=agent, history=history)

    def door(self, client: str = "") -> OrionError | None:
        """What a newcomer of `client` would hear if none is let in; None: it would be.

        Takes microseconds and waits for nobody; a moment old.
        """
        if self._closed:
            return ShuttingDownError()
        return self._services.dispatcher.refusal(client)

    def retry_after_s(self) -> float:
        """When it is worth coming back, for one who is refused before it gets here."""
        return self._services.dispatcher.retry_after_s()

    def purge_session(self, session: str) -> None:
        """Forget what is kept for a session that is over: its answers, and its habits."""
        self._services.answer_cache.purge(session)
        self._services.preloader.forget(session)

    def cancel(self, request_id: Any) -> bool:
        """End a request from outside. False: there is none of that id under way."""
        if not isinstance(request_id, str):
            return False
        with self._lock:
            walk = self._walks.get(request_id)
        if walk is not None:
            walk.cancel()
        return walk is not None

    def load(self, name: Any, *, keep_alive: Any = None, pin: Any = None) -> dict[str, Any]:
        """Make the model of an agent (or a model by its id) resident; waits until it is.

        Args:
            name: An agent id or a model id.
            keep_alive: How long it then stays when idle, as a request's `keep_alive`.
            pin: True: its weights leave only when asked to; False: not any more.

        Raises:
            UnknownAgentError: Nothing has that name.
            InvalidQueryError: `keep_alive` or `pin` is no such value.
            OrionError: The load failed, or no place could be had.
        """
        return make_resident(
            self._services.dispatcher,
            self._model_of(name),
            keep_alive=keep_alive,
            pin=pin,
            always_pinned=self._reloader.pinned,
        )

    def unload(self, name: Any) -> dict[str, Any]:
        """End the worker of a model once nobody uses it; waits until the process is gone.

        A pinned model is not pinned any more.

        Raises:
            UnknownAgentError: Nothing has that name.
        """
        return let_go(self._services.dispatcher, self._model_of(name))

    def reload(self) -> dict[str, Any]:
        """Read `models.json` again; requests under way end with what they began with.

        Returns:
            `changed`, `added`, `removed`, `kept`: names of agents and models;
            `registry_sha256`, `seconds`.

        Raises:
            RegistryError: The file is missing or refused; what is in force stays.
            ShuttingDownError: The engine stops.
        """
        if self._closed:
            raise ShuttingDownError
        return self._reloader.reload()

    def preload(self) -> None:
        """Begin to load the conversation agent's model and return at once."""
        self._expects_preload = True
        self._services.dispatcher.keep(self._model_of(CONVERSATION_AGENT))

    def keep_spares(self) -> None:
        """From now on keep warm workers for the next load."""
        self._services.dispatcher.keep_spares()

    def agents(self) -> list[dict[str, Any]]:
        """The agents, as plain values."""
        return self._report.agents()

    def stats(self) -> dict[str, Any]:
        """What is running, resident and waiting; plain values."""
        with self._lock:
            walks = list(self._walks.values())
        by_state = Counter(str(walk.state) for walk in walks)
        return self._report.stats(in_flight=len(walks), by_state=dict(by_state))

    def health(self) -> dict[str, Any]:
        """Whether a request would be answered now, and why not. Never blocks."""
        return self._report.health(closed=self._closed, expects_preload=self._expects_preload)

    def reset_breakers(self, name: str | None = None) -> list[str]:
        """Close breakers and forget their counts; returns their names.

        Args:
            name: An agent id, a model id or a breaker's name; None means all.

        Raises:
            UnknownAgentError: There is no such breaker.
        """
        breakers = self._breakers_of(name)
        for breaker in breakers:
            breaker.reset()
        return [breaker.name for breaker in breakers]

    def force_open(self, name: str) -> list[str]:
        """Pause an agent or a model until its breaker is reset; returns the names.

        Raises:
            UnknownAgentError: There is no such breaker.
        """
        breakers = self._breakers_of(name)
        for breaker in breakers:
            breaker.force_open()
        return [breaker.name for breaker in breakers]

    def inject_fault(
        self, agent: Any, kind: Any, *, where: Any = "generate", times: Any = 1
    ) -> dict[str, Any]:
        """Have the next answers of an agent, or the next loads of its model, go wrong.

        Args:
            agent: An agent id.
            kind: `fail`, `slow`, `hang`, `oom` or `kill`.
            where: `generate` or `load`.
            times: How often, 1 to 1000.

        Raises:
            FaultsOffError: The setting `faults` is off.
            InvalidQueryError: There is no such agent, kind or place.
        """
        return self._fault_desk.inject(agent, kind, where=where, times=times)

    def faults(self) -> list[dict[str, Any]]:
        """The injected faults that have not struck yet.

        Raises:
            FaultsOffError: The setting `faults` is off.
        """
        return self._fault_desk.pending()

    def clear_faults(self) -> int:
        """Forget them; returns how many there were.

        Raises:
            FaultsOffError: The setting `faults` is off.
        """
        return self._fault_desk.clear()

    def shutdown(self, grace_s: float | None = None) -> None:
        """Stop: new requests are refused, those under way get `grace_s`, workers end."""
        with self._lock:
            self._closed = True
        self._services.dispatcher.shutdown(self.settings.grace_s if grace_s is None else grace_s)
        self._services.breakers.close()

    def _breakers_of(self, name: Any) -> list[Breaker]:
        breakers = self._services.breakers
        if isinstance(name, str) and name in self.registry.models:
            for kind in ("load", "generate"):  # also those that nobody has needed yet
                self._services.breaker_for(kind, name)
        known = breakers.names()
        wanted = [one for one in known if name is None or name in {one, one.partition(":")[2]}]
        if not wanted:
            raise UnknownAgentError(name=str(name), known=", ".join(known))
        return [breakers.get(one) for one in wanted]

    def _model_of(self, name: Any) -> str:
        if not isinstance(name, str):
            reason = f"must be text, not {type(name).__name__}"
            raise InvalidQueryError(field="name", reason=reason)
        return self.registry.model_of(name)

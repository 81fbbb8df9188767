"""The public face of the engine: ask, stream, load, unload, look inside, stop."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from orion.dispatcher import Ended, Granted, Ticket, WorkerState
from orion.engine.walk import Walk
from orion.errors import InvalidQueryError, OrionError, ShuttingDownError
from orion.guardrails import validate
from orion.registry import CONVERSATION_AGENT
from orion.types import Answer, ErrorEvent, FinalEvent, Query, new_request_id

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from orion.engine.report import Report
    from orion.engine.services import Services
    from orion.logs import Log
    from orion.metrics import Metrics
    from orion.registry import Registry
    from orion.settings import Settings
    from orion.types import Event, Route

_UNLOAD_LIMIT_S = 120.0


class Engine:
    """Answers people with small models. Make one with `orion.build_engine`.

    Every method may be called from any thread. A context manager: leaving it shuts
    the engine down.
    """

    def __init__(self, services: Services, settings: Settings, report: Report) -> None:
        self._services = services
        self._report = report
        self.settings = settings
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
        """The agents and models there are."""
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
            OrionError: The request failed or was refused; see its `code`.
        """
        for event in self.stream(text, **options):
            if isinstance(event, FinalEvent):
                return event.answer
            if isinstance(event, ErrorEvent):
                raise event.error
        raise OrionError

    def route(self, text: Any, history: Any = None) -> Route:
        """Which agent would answer, without asking it.

        Raises:
            InvalidQueryError: `text` or `history` is no valid input.
        """
        query = validate(Query(text=text, history=history), names=(), limits=self._services.limits)
        return self._services.router.route(query.text, query.history)

    def cancel(self, request_id: Any) -> bool:
        """End a request from outside. False: there is none of that id under way."""
        if not isinstance(request_id, str):
            return False
        with self._lock:
            walk = self._walks.get(request_id)
        if walk is not None:
            walk.cancel()
        return walk is not None

    def load(self, name: str) -> dict[str, Any]:
        """Make the model of an agent (or a model by its id) resident; waits until it is.

        Raises:
            UnknownAgentError: Nothing has that name.
            OrionError: The load failed, or no place could be had.
        """
        ticket = self._ask_resident(self._model_of(name))
        while True:
            message = ticket.get(1.0)
            if isinstance(message, Granted):
                return {
                    "model": ticket.model,
                    "variant": message.variant,
                    "runtime": message.runtime,
                    "load_s": message.load_s,
                    "resident": True,
                }
            if isinstance(message, Ended):
                raise message.error

    def unload(self, name: str) -> dict[str, Any]:
        """End the worker of a model once nobody uses it; waits until the process is gone.

        Raises:
            UnknownAgentError: Nothing has that name.
        """
        model = self._model_of(name)
        gone = self._services.dispatcher.unload(model, _UNLOAD_LIMIT_S)
        return {"model": model, "unloaded": gone}

    def preload(self) -> None:
        """Begin to load the conversation agent's model and return at once."""
        self._expects_preload = True
        self._ask_resident(self._model_of(CONVERSATION_AGENT))

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
        """Whether a request would be answered now, and why not. Never blocks.

        Only the models that agents use count: asking for another one, which may not be
        here, says nothing about the engine.
        """
        dispatcher = self._services.dispatcher
        resident = any(record.state is WorkerState.READY for record in dispatcher.records())
        errors, agents = dispatcher.load_errors, self.registry.agents
        failed = {agent.model for agent in agents.values()} & errors.keys()
        reasons = [errors[model].public_message for model in sorted(failed)]
        if self._closed or dispatcher.draining:
            status, reasons = "draining", ["the engine is shutting down"]
        elif failed:
            is_down = self._model_of(CONVERSATION_AGENT) in failed and not resident
            status = "down" if is_down else "degraded"
        elif self._expects_preload and not resident and not self._report.ever_loaded:
            status, reasons = "starting", ["the first model is being loaded"]
        else:
            status = "ready"
        return {"status": status, "ready": status in ("ready", "degraded"), "reasons": reasons}

    def shutdown(self, grace_s: float | None = None) -> None:
        """Stop: new requests are refused, those under way get `grace_s`, workers end."""
        with self._lock:
            self._closed = True
        self._services.dispatcher.shutdown(
            self.settings.grace_s if grace_s is None else grace_s
        )

    def _model_of(self, name: Any) -> str:
        if not isinstance(name, str):
            reason = f"must be text, not {type(name).__name__}"
            raise InvalidQueryError(field="name", reason=reason)
        if name in self.registry.models:
            return name
        return self.registry.agent(name).model

    def _ask_resident(self, model: str) -> Ticket:
        ticket = Ticket(request_id=f"load-{new_request_id()}", model=model, generate=None)
        self._services.dispatcher.submit(ticket)
        return ticket

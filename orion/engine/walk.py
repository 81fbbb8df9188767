"""One request, from admission to its last event."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orion.dispatcher import Ended, FellBack, Granted, Loading, Queued
from orion.engine.account import Account
from orion.engine.listener import Listener
from orion.errors import CancelledError, OrionError
from orion.guardrails import validate
from orion.lifecycle import RequestMachine
from orion.protocol import Delta, Done, Prefilling, Started
from orion.registry import CONVERSATION_AGENT
from orion.types import (
    AUTO,
    Answer,
    DeltaEvent,
    ErrorEvent,
    Event,
    FinalEvent,
    FinishReason,
    ProgressEvent,
    RequestState,
    Route,
    RouteEvent,
    StateEvent,
    ValidQuery,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from orion.engine.services import Services
    from orion.types import Query

_PROGRESS_GAP_S = 0.05


class Walk:
    """The steps of one request. `events` runs once, on the caller's thread."""

    def __init__(self, services: Services, query: Query) -> None:
        self._services = services
        self._registry = services.registry  # a reload changes nothing for this request
        self._query = query
        self._machine = RequestMachine(services.clock)
        self._account = Account(services.clock)
        self._listener = Listener(services, self._account)
        self._route: Route | None = None
        self._agent = ""
        self._model = ""
        self._reason = FinishReason.STOP
        self._read_ratio: float | None = None

    @property
    def state(self) -> RequestState:
        """Where the request is; from any thread."""
        return self._machine.state

    def refusal(self, error: OrionError) -> Iterator[Event]:
        """The events of a request that is not let in."""
        return self._finish(RequestState.ERROR, error)

    def cancel(self) -> None:
        """End the request from another thread."""
        self._listener.leave()

    def events(self) -> Iterator[Event]:
        """Everything that happens, in order; the last is a `FinalEvent` or an `ErrorEvent`.

        Closing it early cancels the request. `OrionError` never leaves it.
        """
        try:
            yield from self._steps()
        except CancelledError:
            yield from self._finish(RequestState.CANCELLED, None)
        except OrionError as error:
            yield from self._finish(RequestState.ERROR, error)
        except GeneratorExit:
            if not self._machine.is_over:
                self._machine.enter(RequestState.CANCELLED)
                self._record("cancelled")
            raise
        except Exception:
            self._services.log.exception("request.crashed", request_id=self._query.request_id)
            if self._machine.is_over:
                yield self._error_event(OrionError())
            else:
                yield from self._finish(RequestState.ERROR, OrionError())
        finally:
            self._listener.leave()

    def _steps(self) -> Iterator[Event]:
        services = self._services
        yield self._enter(RequestState.VALIDATING)
        query = validate(
            self._query,
            names=[*self._registry.agents, *self._registry.models],
            limits=services.limits,
        )
        self._account.guard_done()
        yield self._enter(RequestState.ROUTING)
        self._route, self._model = self._choose(query)
        self._agent = self._route.agent
        self._account.route_done()
        services.preloader.requested(query.session, self._agent, self._model)
        yield RouteEvent(request_id=query.request_id, route=self._route, model=self._model)
        yield self._enter(RequestState.CACHE_LOOKUP)
        hit = self._listener.look_up(query, self._agent, self._registry)
        if hit is not None:
            self._account.recalled(hit)
            self._load_ahead(query.session)
            yield self._delta(hit.answer.text, self._account.usage.completion_tokens)
            yield from self._finish(RequestState.SUCCESS, None)
            return
        yield self._enter(RequestState.LOADING_AGENT)
        done: Done | None = None
        while done is None:
            yield from self._await_grant()
            done = yield from self._await_text()
        self._account.done(done)
        self._reason = FinishReason(done.finish_reason)
        self._load_ahead(query.session)
        yield from self._finish(RequestState.SUCCESS, None)

    def _load_ahead(self, session: str | None) -> None:
        """The answer is there: load what this session is likely to ask for next."""
        ahead = self._services.preloader.after_answer(session)
        if ahead is not None:
            self._services.dispatcher.prefetch(ahead)

    def _choose(self, query: ValidQuery) -> tuple[Route, str]:
        registry = self._registry
        if query.agent == AUTO:
            route = self._services.router.route(query.text, query.history)
            self._services.metrics.routed(route.agent, abstained=route.abstained)
        else:
            is_model = query.agent in registry.models
            agent = CONVERSATION_AGENT if is_model else query.agent
            route = Route(
                agent=agent,
                confidence=1.0,
                scores={agent: 1.0},
                abstained=False,
                reason="this model was asked for" if is_model else "this agent was asked for",
                router="caller",
            )
            if is_model:
                return route, query.agent
        return route, registry.agent(route.agent).model

    def _await_grant(self) -> Generator[Event, None, None]:
        """Progress until the request runs."""
        phase: str = "queue"
        ratio: float | None = None
        queued: Queued | None = None
        spoke_s = self._machine.elapsed_s
        while True:
            message = self._listener.hear()
            if isinstance(message, Granted):
                self._account.granted(message, waited=not self._listener.is_catching_up)
                yield self._enter(RequestState.INFERENCING)
                return
            if isinstance(message, FellBack):
                yield from self._take_over(message)
                phase, ratio, queued = "queue", None, None
                continue
            if isinstance(message, Ended):
                raise message.error
            if isinstance(message, Queued):
                queued = message
            if isinstance(message, Loading):
                changed = message.phase != phase
                phase, ratio = message.phase, _forward(message.ratio, None if changed else ratio)
                if not changed and self._machine.elapsed_s - spoke_s < _PROGRESS_GAP_S:
                    continue
            spoke_s = self._machine.elapsed_s
            yield self._progress(phase, ratio=ratio, queued=queued)

    def _await_text(self) -> Generator[Event, None, Done | None]:
        """Text until the answer ends; returns how it ended, or None when another takes over."""
        self._read_ratio = None
        while True:
            message = self._listener.hear()
            if isinstance(message, Delta):
                self._account.text(message.text, message.num_tokens)
                yield self._delta(message.text, message.num_tokens)
            elif isinstance(message, FellBack):
                yield from self._take_over(message)
                return None
            elif isinstance(message, Done):
                return message
            elif isinstance(message, Ended):
                raise message.error
            else:
                yield from self._before_text(message)

    def _before_text(self, message: object) -> Iterator[Event]:
        """How far the prompt is read, or that nothing came for a while."""
        if isinstance(message, Started):
            self._account.started(message)
            return
        if isinstance(message, Prefilling):
            ratio = min(1.0, message.read_tokens / max(1, message.prompt_tokens))
            self._read_ratio = _forward(ratio, self._read_ratio)
        waits = not self._account.has_text
        phase = "prefill" if waits else "decode"
        yield self._progress(phase, ratio=self._read_ratio if waits else None)

    def _take_over(self, message: FellBack) -> Iterator[Event]:
        """Another agent goes on in the same slot; told as a state and a second route."""
        assert self._route
        self._account.fell_back()
        failed, self._agent = self._agent, message.attempt.agent
        self._model = message.attempt.model
        self._services.log.warning(
            "request.fallback",
            request_id=self._query.request_id,
            agent=failed,
            to=self._agent,
            code=message.error.code,
        )
        yield self._enter(RequestState.FALLBACK)
        reason = f"{failed} failed ({message.error.code}): {message.error.public_message}"
        route = replace(self._route, agent=self._agent, reason=reason)
        yield RouteEvent(request_id=self._query.request_id, route=route, model=self._model)
        yield self._enter(RequestState.LOADING_AGENT)

    def _delta(self, text: str, num_tokens: int) -> DeltaEvent:
        return DeltaEvent(request_id=self._query.request_id, text=text, num_tokens=num_tokens)

    def _progress(
        self, phase: str, *, ratio: float | None = None, queued: Queued | None = None
    ) -> ProgressEvent:
        return ProgressEvent(
            request_id=self._query.request_id,
            phase=phase,
            elapsed_s=self._machine.elapsed_s,
            ratio=ratio,
            position=queued.position if queued else None,
            wait_s=queued.wait_s if queued else None,
        )

    def _enter(self, state: RequestState) -> StateEvent:
        self._machine.enter(state)
        return StateEvent(
            request_id=self._query.request_id, state=state, elapsed_s=self._machine.elapsed_s
        )

    def _finish(self, state: RequestState, error: OrionError | None) -> Iterator[Event]:
        """Enter the last state, count the request, and say how it ended."""
        entered = self._enter(state)
        if state is RequestState.CANCELLED:
            self._reason = FinishReason.CANCELLED
        self._record(error.code if error else str(state))
        last = self._error_event(error) if error else self._final_event()
        yield entered
        yield last

    def _final_event(self) -> FinalEvent:
        assert self._route
        return FinalEvent(
            request_id=self._query.request_id,
            answer=Answer(
                request_id=self._query.request_id,
                text=self._account.answer_text,
                agent=self._agent,
                model=self._model,
                runtime=self._account.runtime,
                finish_reason=self._reason,
                route=self._route,
                timings=self._account.timings(),
                usage=self._account.usage,
                states=self._machine.path,
                cached=self._account.is_cached,
                cached_age_s=self._account.cached_age_s,
                fallback_from=self._fallback_from,
            ),
        )

    @property
    def _fallback_from(self) -> str | None:
        """The agent first chosen, where another one took over."""
        return self._route.agent if self._route and self._route.agent != self._agent else None

    def _error_event(self, error: OrionError) -> ErrorEvent:
        return ErrorEvent(
            request_id=str(self._query.request_id),
            error=error,
            text=self._account.answer_text,
            states=self._machine.path,
            timings=self._account.timings(),
        )

    def _record(self, outcome: str) -> None:
        """Count the request and write its one line."""
        timings, usage = self._account.timings(), self._account.usage
        agent = self._agent or "none"
        self._services.metrics.ended(
            agent=agent,
            outcome=outcome,
            timings=timings,
            usage=usage,
            cached=self._account.is_cached,
        )
        rounded = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in timings.as_dict().items()
        }
        self._services.log.info(
            "request",
            request_id=str(self._query.request_id)[:64],
            outcome=outcome,
            agent=agent,
            model=self._model,
            runtime=self._account.runtime,
            fallback_from=self._fallback_from,
            cached=self._account.is_cached,
            states=list(self._machine.path),
            text_chars=len(self._query.text) if isinstance(self._query.text, str) else None,
            answer_chars=len(self._account.answer_text),
            **usage.as_dict(),
            **rounded,
        )


def _forward(ratio: float | None, before: float | None) -> float | None:
    """Progress never falls."""
    return before if ratio is None else max(ratio, before or 0.0)

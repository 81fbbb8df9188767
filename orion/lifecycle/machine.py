"""The state machine that drives one request; a move it does not know is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from orion.types import RequestState

if TYPE_CHECKING:
    from orion.clock import Clock


class _Graph(StateMachine):
    """The states and moves; every path ends in success, error or cancelled."""

    idle = State(initial=True)
    validating = State()
    routing = State()
    cache_lookup = State()
    loading_agent = State()
    inferencing = State()
    fallback = State()
    success = State(final=True)
    error = State(final=True)
    cancelled = State(final=True)

    validate = idle.to(validating)
    route = validating.to(routing)
    look_up = routing.to(cache_lookup)
    load = cache_lookup.to(loading_agent) | fallback.to(loading_agent)
    infer = loading_agent.to(inferencing)
    fall_back = loading_agent.to(fallback) | inferencing.to(fallback)
    succeed = inferencing.to(success) | cache_lookup.to(success)
    fail = (
        idle.to(error)
        | validating.to(error)
        | routing.to(error)
        | cache_lookup.to(error)
        | loading_agent.to(error)
        | inferencing.to(error)
        | fallback.to(error)
    )
    cancel = (
        idle.to(cancelled)
        | validating.to(cancelled)
        | routing.to(cancelled)
        | cache_lookup.to(cancelled)
        | loading_agent.to(cancelled)
        | inferencing.to(cancelled)
        | fallback.to(cancelled)
    )


_MOVE_INTO = {
    RequestState.VALIDATING: "validate",
    RequestState.ROUTING: "route",
    RequestState.CACHE_LOOKUP: "look_up",
    RequestState.LOADING_AGENT: "load",
    RequestState.INFERENCING: "infer",
    RequestState.FALLBACK: "fall_back",
    RequestState.SUCCESS: "succeed",
    RequestState.ERROR: "fail",
    RequestState.CANCELLED: "cancel",
}


class RequestMachine:
    """One request's walk through the states, with the time of each step.

    Used by the thread that serves the request.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.now()
        self._graph = _Graph()
        self._path: list[RequestState] = [RequestState.IDLE]

    @property
    def state(self) -> RequestState:
        """Where the request is."""
        return self._path[-1]

    @property
    def path(self) -> tuple[str, ...]:
        """Every state so far, in order."""
        return tuple(str(state) for state in self._path)

    @property
    def is_over(self) -> bool:
        """Whether the request ended."""
        return bool(self._graph.is_terminated)

    @property
    def elapsed_s(self) -> float:
        """Seconds since admission."""
        return self._clock.now() - self._began_s

    def enter(self, state: RequestState) -> RequestState:
        """Move to `state`.

        Raises:
            statemachine.exceptions.TransitionNotAllowed: There is no such move from here.
        """
        if state not in _MOVE_INTO:
            raise TransitionNotAllowed(None, self._graph.configuration)
        self._graph.send(_MOVE_INTO[state])
        self._path.append(state)
        return state

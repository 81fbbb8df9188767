"""A request as it goes, gathered from the engine's events and told at a bearable pace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orion.types import (
    DeltaEvent,
    ErrorEvent,
    FinalEvent,
    ProgressEvent,
    RequestState,
    RouteEvent,
    StateEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.clock import Clock
    from orion.types import Event

PACE_S = 0.05
"""Shortest time between two updates of a page; each one costs a comparison of the chat."""
CHARS_PER_PACE = 4_000
"""For every so many characters one `PACE_S` more: the cost of an update grows with the text."""


@dataclass(slots=True)
class Live:
    """What is known of a request so far."""

    states: list[RequestState] = field(default_factory=list)
    agent: str | None = None
    model: str | None = None
    progress: ProgressEvent | None = None
    text: str = ""
    num_tokens: int = 0
    end: FinalEvent | ErrorEvent | None = None

    def take(self, event: Event) -> bool:
        """Add `event`; True when the page should hear of it at once."""
        match event:
            case StateEvent():
                self.states.append(event.state)
                self.progress = None
                return event.state is RequestState.FALLBACK
            case RouteEvent():
                self.agent, self.model = event.route.agent, event.model
                self.num_tokens = 0  # of the agent that answers, should one have failed before
            case ProgressEvent():
                self.progress = event
            case DeltaEvent():
                self.progress = None
                first = bool(event.text) and not self.text
                self.text += event.text
                self.num_tokens += event.num_tokens
                return first
            case FinalEvent() | ErrorEvent():
                self.end = event
                return True
        return False


def paced(events: Iterator[Event], clock: Clock, *, pace_s: float = PACE_S) -> Iterator[Live]:
    """`Live` after a fallback, the first text and the end at once, else at most every `pace_s`.

    The same object each time, changed in between. Yields as often as the engine's heartbeat
    when nothing comes, which is what lets a caller who left be noticed; closing it closes
    `events`, which cancels the request.
    """
    live = Live()
    told_at = -pace_s
    for event in events:
        now = clock.now()
        due = told_at + pace_s * (1 + len(live.text) // CHARS_PER_PACE)
        if live.take(event) or now >= due:
            yield live
            told_at = clock.now()

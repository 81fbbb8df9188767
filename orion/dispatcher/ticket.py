"""A request's place at the dispatcher, and the messages that come back on it."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orion.errors import OrionError
    from orion.protocol import Delta, Done, Generate, Started


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The load this request waits for moved on."""

    phase: str
    ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The request runs now, after so many seconds in the queue and in a load."""

    queue_s: float
    load_s: float
    cold: bool
    runtime: str
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The request ends without an answer: refused, cancelled or failed."""

    error: OrionError


@dataclass(slots=True, kw_only=True)
class Ticket:
    """One request at the dispatcher.

    `generate` None asks only that the model be resident. The fields after `messages`
    belong to the dispatcher thread.
    """

    request_id: str
    model: str
    generate: Generate | None
    messages: queue.SimpleQueue[Loading | Granted | Ended | Started | Delta | Done] = field(
        default_factory=queue.SimpleQueue
    )
    submitted_s: float = 0.0
    granted_s: float = 0.0
    stop_sent_s: float | None = None
    ended: bool = False

    def get(self, timeout_s: float) -> Loading | Granted | Ended | Started | Delta | Done | None:
        """The next message, or None when none came in time."""
        try:
            return self.messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def put(self, message: Loading | Granted | Ended | Started | Delta | Done) -> None:
        """Tell the waiting caller."""
        self.messages.put(message)

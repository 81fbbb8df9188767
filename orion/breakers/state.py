"""Where a breaker stands, and what it tells about changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN

from orion.errors import OrionError


class BreakerState(StrEnum):
    """pybreaker's three states, in its words."""

    CLOSED = STATE_CLOSED
    OPEN = STATE_OPEN
    HALF_OPEN = STATE_HALF_OPEN


class BreakerMode(StrEnum):
    """Who decides: the rules, a person, or nobody."""

    NORMAL = "normal"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class EventKind(StrEnum):
    """What happened to a breaker."""

    OPENED = "opened"
    HALF_OPENED = "half_opened"
    CLOSED = "closed"
    RESET = "reset"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"
    THRESHOLD = "threshold"


class OpenReason(StrEnum):
    """The rule that opened it."""

    CONSECUTIVE = "consecutive"
    FAILURE_RATE = "failure_rate"
    SLOW_RATE = "slow_rate"
    TRIAL_FAILED = "trial_failed"
    TRIAL_SLOW = "trial_slow"


class ErrorNote(NamedTuple):
    """What is kept of an error: no traceback, no prompt, no path."""

    code: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> ErrorNote:
        """Code and public message; of a foreign error, the name of its class."""
        if isinstance(error, OrionError):
            return cls(error.code, error.public_message)
        return cls(type(error).__name__, OrionError.template)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerEvent:
    """One change, as listeners get it.

    Attributes:
        kind: What happened.
        name: The breaker's name.
        old: State before.
        new: State after; the same where only the mode changed.
        mode: Mode after.
        generation: Generation after.
        at_s: When, on the breaker's clock, in seconds.
        reason: The rule that opened it (`opened`, `threshold`).
        error: The last failure that counted.
        break_s: Length of the break in seconds (`opened`); `inf`: until a reset.
    """

    kind: EventKind
    name: str
    old: BreakerState
    new: BreakerState
    mode: BreakerMode
    generation: int
    at_s: float
    reason: OpenReason | None = None
    error: ErrorNote | None = None
    break_s: float | None = None


TRANSITIONS = frozenset(
    {
        (BreakerState.CLOSED, BreakerState.OPEN),
        (BreakerState.OPEN, BreakerState.HALF_OPEN),
        (BreakerState.HALF_OPEN, BreakerState.OPEN),
        (BreakerState.HALF_OPEN, BreakerState.CLOSED),
    }
)
"""The moves the rules make; anything else takes a reset or a change of mode."""

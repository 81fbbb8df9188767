"""Monotonic time, injected so that tests move it by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic source of seconds; never the wall clock."""

    def now(self) -> float:
        """Seconds since an arbitrary start; never goes back."""


class MonotonicClock:
    """The system's monotonic clock.

    `CLOCK_MONOTONIC` is shared by all processes of a machine, so stamps made in a
    child compare with stamps made in its parent.
    """

    def now(self) -> float:
        """Seconds since boot or so."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now(self) -> float:
        """Seconds advanced so far, plus the start."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`.

        Raises:
            ValueError: `seconds` is negative; the clock is monotonic.
        """
        if seconds < 0:
            msg = f"a monotonic clock does not go back ({seconds} s)"
            raise ValueError(msg)
        self._now_s += seconds

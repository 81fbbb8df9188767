"""The outcomes of the last seconds, and what share of them was bad."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

MOST_CALLS = 4096
"""A busier span keeps its newest calls only, so that memory has a bound."""


class _Call(NamedTuple):
    at_s: float
    failed: bool
    slow: bool
    voter: str | None


class Window:
    """A sliding span; a call leaves it at the exact moment its age reaches the span."""

    def __init__(self) -> None:
        self._calls: deque[_Call] = deque()
        self._voters: set[str] = set()
        self.failures = 0
        self.slow = 0

    @property
    def calls(self) -> int:
        """Calls within the span."""
        return len(self._calls)

    @property
    def failure_ratio(self) -> float:
        """Share of failures, 0 without calls."""
        return self.failures / max(1, self.calls)

    @property
    def slow_ratio(self) -> float:
        """Share of slow calls, 0 without calls."""
        return self.slow / max(1, self.calls)

    def has_voted(self, voter: str | None) -> bool:
        """Whether a failure of `voter` is within the span already."""
        return voter in self._voters

    def add(self, at_s: float, *, failed: bool, slow: bool, voter: str | None = None) -> None:
        """Take in one outcome."""
        self._calls.append(_Call(at_s, failed, slow, voter))
        self.failures += failed
        self.slow += slow
        if voter is not None:
            self._voters.add(voter)
        if len(self._calls) > MOST_CALLS:
            self._drop_oldest()

    def forget(self, now_s: float, span_s: float) -> None:
        """Let go of what is `span_s` old or older."""
        while self._calls and now_s - self._calls[0].at_s >= span_s:
            self._drop_oldest()

    def clear(self) -> None:
        """Let go of everything."""
        self._calls.clear()
        self._voters.clear()
        self.failures = self.slow = 0

    def _drop_oldest(self) -> None:
        call = self._calls.popleft()
        self.failures -= call.failed
        self.slow -= call.slow
        if call.voter is not None:
            self._voters.discard(call.voter)

"""The calls let through after a break: how many may still start, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.breakers.state import OpenReason

if TYPE_CHECKING:
    from pybreaker import CircuitMemoryStorage

    from orion.breakers.config import BreakerConfig


class Trials:
    """Trials of one half-open generation; successes are counted in pybreaker's storage."""

    def __init__(self, storage: CircuitMemoryStorage) -> None:
        self._storage = storage
        self._due_s: dict[int, float] = {}
        self.clear()

    @property
    def in_flight(self) -> int:
        """Trials without an outcome."""
        return len(self._due_s)

    @property
    def first_due_s(self) -> float:
        """When the first trial in flight expires; there is one."""
        return min(self._due_s.values())

    def start(self, permit: int, due_s: float) -> None:
        """Take in a trial, which must have an outcome before `due_s`."""
        self._due_s[permit] = due_s

    def leave(self, permit: int) -> None:
        """A call ended; where it was a trial, its place is free until it is counted."""
        self._due_s.pop(permit, None)

    def overdue(self, now_s: float) -> list[tuple[float, int]]:
        """(due, permit) of the trials whose time is up, in order."""
        if not self._due_s:  # nearly always
            return []
        due = ((due_s, permit) for permit, due_s in self._due_s.items())
        return sorted(item for item in due if item[0] <= now_s)

    def succeeded(self, *, slow: bool) -> None:
        """Count a trial that ended well."""
        self._storage.increment_success_counter()
        self._slow += slow

    def failed(self, *, slow: bool) -> None:
        """Count a trial that failed."""
        self._failures += 1
        self._slow += slow

    def has_room(self, config: BreakerConfig) -> bool:
        """Whether another trial may start."""
        return self.in_flight + self._counted < config.trials

    def objection(self, config: BreakerConfig) -> OpenReason | None:
        """Why the breaker must open again, told as soon as no later trial can change it."""
        if self._failures / config.trials >= config.failure_rate:
            return OpenReason.TRIAL_FAILED
        if self._slow / config.trials >= config.slow_rate:
            return OpenReason.TRIAL_SLOW
        return None

    def are_complete(self, config: BreakerConfig) -> bool:
        """Whether every trial has been counted."""
        return self._counted >= config.trials

    def clear(self) -> None:
        """Begin again with none."""
        self._due_s.clear()
        self._failures = self._slow = 0
        self._storage.reset_success_counter()

    @property
    def _counted(self) -> int:
        return self._storage.success_counter + self._failures

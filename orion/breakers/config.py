"""The rules of a breaker as numbers, checked when they are written down."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from orion.errors import (
    BreakerConfigError,
    CancelledError,
    CircuitOpenError,
    FaultsOffError,
    InvalidQueryError,
    NotServableError,
    OverloadedError,
    QuarantinedError,
    ShuttingDownError,
    SlowReaderError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from orion.settings import BreakerSettings

Matcher = type[BaseException] | Callable[[BaseException], bool]
"""A class, which stands for its subclasses too, or a question about one error."""

BreakLength = Callable[[float, int, int], float]
"""(failure rate, failures, breaks in a row before this one) → seconds. Arithmetic only: it is
called while the breaker is locked."""

NOBODYS_FAULT: tuple[Matcher, ...] = (
    InvalidQueryError,
    UnauthorizedError,
    OverloadedError,
    ShuttingDownError,
    CancelledError,
    SlowReaderError,
    QuarantinedError,
    FaultsOffError,
    NotServableError,
    CircuitOpenError,
)
"""What says nothing about the health of an agent."""


@dataclass(frozen=True, kw_only=True)
class BreakerConfig:
    """When a breaker opens, for how long, and what it counts.

    Attributes:
        failures: Failures in a row that open it.
        window_s: Span over which rates are taken.
        minimum_calls: Calls in the span below which a rate is unknown.
        failure_rate: Share of failures that opens it, in (0, 1].
        slow_rate: Share of slow calls that opens it, in (0, 1].
        slow_ttft_s: A first text later than this is slow.
        slow_gap_s: A gap between two pieces of text longer than this is slow.
        break_s: First break; 0: none, `inf`: until a reset.
        break_max_s: Longest break; may be `inf`.
        growth: Each break is this many times longer than the one before.
        jitter: Share by which a break varies, in [0, 1).
        trials: Calls let through after a break.
        trial_s: A trial without outcome for this long has failed.
        break_length: Gives the break instead of `break_s`, `growth` and `jitter`; capped too.
        record: Errors that count as failures; the others are ignored.
        ignore: Errors that never count; wins over `record`.
        bad_result: Says of a result that it is a failure.

    Raises:
        BreakerConfigError: A value makes no sense, or a name is unknown.
    """

    failures: int = 3
    window_s: float = 60.0
    minimum_calls: int = 10
    failure_rate: float = 0.5
    slow_rate: float = 0.8
    slow_ttft_s: float = 45.0
    slow_gap_s: float = 10.0
    break_s: float = 30.0
    break_max_s: float = 300.0
    growth: float = 2.0
    jitter: float = 0.1
    trials: int = 1
    trial_s: float = 120.0
    break_length: BreakLength | None = None
    record: tuple[Matcher, ...] = (Exception,)
    ignore: tuple[Matcher, ...] = NOBODYS_FAULT
    bad_result: Callable[[Any], bool] | None = None

    def __new__(cls, **values: object) -> Self:
        """Refuse an unknown name by our own error, before the generated constructor does."""
        for name in sorted(values.keys() - {field.name for field in fields(cls)}):
            raise BreakerConfigError(field=name, reason="is unknown")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for name in ("failures", "minimum_calls", "trials"):
            value = getattr(self, name)
            self._want(name, isinstance(value, int) and value >= 1, "must be 1 or more")
        for name in ("failure_rate", "slow_rate"):
            self._want(name, 0 < getattr(self, name) <= 1, "must be above 0, up to 1")
        for name in ("slow_ttft_s", "slow_gap_s"):
            self._want(name, getattr(self, name) > 0, "must be above 0 seconds")
        for name in ("window_s", "trial_s"):
            fine = 0 < getattr(self, name) < math.inf
            self._want(name, fine, "must be above 0 seconds, and finite")
        self._want("break_s", self.break_s >= 0, "must be 0 seconds or more")
        self._want("break_max_s", self.break_max_s >= self.break_s, "must be `break_s` or more")
        self._want("growth", 1 <= self.growth < math.inf, "must be 1 or more, and finite")
        self._want("jitter", 0 <= self.jitter < 1, "must be 0 or more, below 1")

    def _want(self, name: str, fine: bool, reason: str) -> None:
        if not fine:
            raise BreakerConfigError(field=name, reason=f"{reason}, not {getattr(self, name)}")

    @classmethod
    def from_settings(cls, settings: BreakerSettings, *, trial_s: float) -> Self:
        """The numbers of `ORION_BREAKER__…`, with the deadline of a trial from elsewhere."""
        return cls(**settings.model_dump(exclude={"enabled"}), trial_s=trial_s)

    def counts(self, error: BaseException) -> bool:
        """Whether `error` is a failure of what the breaker guards."""
        return not _matches(error, self.ignore) and _matches(error, self.record)

    def is_slow(self, ttft_s: float | None, gap_s: float | None) -> bool:
        """Whether a call with these times was slow; None: not known, hence not slow."""
        return (ttft_s or 0.0) > self.slow_ttft_s or (gap_s or 0.0) > self.slow_gap_s

    def break_after(self, reopened: int) -> float:
        """The break after `reopened` failed trials in a row, without jitter, capped."""
        try:
            length_s = self.break_s * float(self.growth) ** reopened
        except OverflowError:
            length_s = math.inf if self.break_s else 0.0
        return min(length_s, self.break_max_s)


def _matches(error: BaseException, matchers: tuple[Matcher, ...]) -> bool:
    return any(
        isinstance(error, matcher) if isinstance(matcher, type) else matcher(error)
        for matcher in matchers
    )

"""The right to run one call, and the duty to say how it ended."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from orion.breakers.guard import guard, guard_async
from orion.breakers.state import ErrorNote

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable
    from types import TracebackType

    from orion.breakers.breaker import Breaker

T = TypeVar("T")


class OutcomeKind(Enum):
    """How a call ended."""

    SUCCESS = auto()
    FAILURE = auto()
    IGNORED = auto()


class Outcome(NamedTuple):
    """What a permit reports to its breaker."""

    permit: int
    kind: OutcomeKind
    slow: bool = False
    error: ErrorNote = ErrorNote("", "")
    voter: str | None = None


class Permit:
    """One admitted call. The first outcome counts; later ones change nothing.

    As a context manager it reports by itself: leaving is success, an error is judged by the
    breaker's rules and goes on to the caller. A permit that is forgotten is given back when it
    is collected; a trial's that is kept without outcome fails when the trial expires.

    Attributes:
        generation: The breaker's generation it was admitted in; -1: it only counts.
        is_trial: Whether it decides about a breaker after its break.
    """

    __slots__ = ("_breaker", "_number", "generation", "is_trial")

    def __init__(self, breaker: Breaker, number: int, generation: int, *, is_trial: bool) -> None:
        self._breaker = breaker
        self._number = number
        self.generation = generation
        self.is_trial = is_trial

    def success(
        self, *, ttft_s: float | None = None, gap_s: float | None = None, result: object = None
    ) -> None:
        """The call ended well.

        Args:
            ttft_s: Seconds from the grant to the first text.
            gap_s: The longest gap between two pieces of text, in seconds.
            result: What it gave, for `BreakerConfig.bad_result` to judge.
        """
        if number := self._spend():
            self._breaker.succeeded(number, ttft_s=ttft_s, gap_s=gap_s, result=result)

    def failure(
        self,
        error: BaseException,
        *,
        voter: str | None = None,
        ttft_s: float | None = None,
        gap_s: float | None = None,
    ) -> None:
        """The call ended with `error`, which counts as a failure or is ignored by the rules.

        Args:
            error: What happened; not kept.
            voter: Fingerprint of the request: within the window it votes once for opening.
            ttft_s: Seconds from the grant to the first text.
            gap_s: The longest gap between two pieces of text, in seconds.
        """
        if number := self._spend():
            self._breaker.failed(number, error, voter=voter, ttft_s=ttft_s, gap_s=gap_s)

    def release(self) -> None:
        """Give it back: the call says nothing about the agent (cancelled, refused, stopped)."""
        if number := self._spend():
            self._breaker.report(Outcome(number, OutcomeKind.IGNORED))

    def guard(self, items: Iterable[T]) -> Generator[T, None, Any]:
        """`items`; exhausted is success, an error of theirs failure, closed early ignored."""
        return guard(self, items, self._breaker.now)

    def guard_async(self, items: AsyncIterable[T]) -> AsyncIterator[T]:
        """What `guard` is, for `async for`."""
        return guard_async(self, items, self._breaker.now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.success()
        else:
            self.failure(error)

    def __del__(self) -> None:
        if number := self._spend():
            self._breaker.lost(number)

    def _spend(self) -> int:
        """The permit's number the first time, then 0."""
        number, self._number = self._number, 0
        return number

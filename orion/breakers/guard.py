"""Streams whose end is the outcome of a permit."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable

    from orion.breakers.permit import Permit

T = TypeVar("T")


class _Stopwatch:
    """Times the waits for items: the first, and the longest after it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.ttft_s: float | None = None
        self.gap_s = 0.0

    def ask(self) -> None:
        self._asked_s = self._now()

    def got(self) -> None:
        waited_s = self._now() - self._asked_s
        if self.ttft_s is None:
            self.ttft_s = waited_s
        else:
            self.gap_s = max(self.gap_s, waited_s)


def guard(permit: Permit, items: Iterable[T], now: Callable[[], float]) -> Generator[T, None, Any]:
    """`items`, and their end reported to `permit`.

    Exhausted: success, with the time to the first item and the longest gap. The source raises:
    failure. Closed early, or something thrown in by the reader: ignored. The source's return
    value is passed on, so that `yield from` gives it.
    """
    source = iter(items)
    watch = _Stopwatch(now)
    try:
        while True:
            watch.ask()
            try:
                item = next(source)
            except StopIteration as end:
                permit.success(ttft_s=watch.ttft_s, gap_s=watch.gap_s)
                return end.value
            except BaseException as error:
                permit.failure(error)
                raise
            watch.got()
            yield item
    finally:
        permit.release()
        if inspect.isgenerator(source):
            source.close()


async def guard_async(
    permit: Permit, items: AsyncIterable[T], now: Callable[[], float]
) -> AsyncIterator[T]:
    """What `guard` is, for `async for`."""
    source = aiter(items)
    watch = _Stopwatch(now)
    try:
        while True:
            watch.ask()
            try:
                item = await anext(source)
            except StopAsyncIteration:
                permit.success(ttft_s=watch.ttft_s, gap_s=watch.gap_s)
                return
            except BaseException as error:
                permit.failure(error)
                raise
            watch.got()
            yield item
    finally:
        permit.release()
        if inspect.isasyncgen(source):
            await source.aclose()

"""Those that wait for one model, in order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_GONE_MAX = 64


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits: for which model, whose it is, and how much there is to read.

    `tokens` are those of its prompt, estimated; `deadline_s` and `since_s` are stamps of the
    scheduler's clock. A `resuming` one was admitted before and is never refused.
    """

    request_id: str
    model: str
    client: str = ""
    tokens: int = 0
    deadline_s: float = float("inf")
    keep_alive_s: float | None = None
    resuming: bool = False
    since_s: float = 0.0
    gone: bool = False


class Line:
    """First come, first served, but resuming ones first. Every step takes constant time.

    (All but one: skipping a client looks past its requests.) Who leaves from the middle is only
    marked, and swept out once those marks outnumber the rest.
    """

    __slots__ = ("_by_client", "_num_gone", "_order", "_resuming", "size", "tokens")

    def __init__(self) -> None:
        self.size = 0
        self.tokens = 0
        self._num_gone = 0
        self._resuming: deque[Waiter] = deque()
        self._order: deque[Waiter] = deque()
        self._by_client: dict[str, deque[Waiter]] = {}

    def __iter__(self) -> Iterator[Waiter]:
        for waiters in (self._resuming, self._order):
            yield from [waiter for waiter in waiters if not waiter.gone]

    def add(self, waiter: Waiter) -> None:
        """Take a place at the end."""
        self.size += 1
        self.tokens += waiter.tokens
        if waiter.resuming:
            self._resuming.append(waiter)
            return
        self._order.append(waiter)
        self._by_client.setdefault(waiter.client, deque()).append(waiter)

    def first(self, *, but: Collection[str] = ()) -> Waiter | None:
        """Who is next; `but` skips those of some clients, unless nobody else waits."""
        if self._resuming:
            return self._resuming[0]
        head = self._order[0] if self._order else None
        if head is None or head.client not in but or len(self._by_client) == 1:
            return head
        for waiter in self._order:
            if not waiter.gone and waiter.client not in but:
                return waiter
        return head

    def remove(self, waiter: Waiter) -> None:
        """Leave, from wherever it stands."""
        self.size -= 1
        self.tokens -= waiter.tokens
        waiter.gone = True
        if waiter.resuming:
            _sweep(self._resuming)
            return
        self._num_gone += 1
        self._num_gone -= _sweep(self._order)
        mine = self._by_client[waiter.client]
        _sweep(mine)
        if not mine:
            del self._by_client[waiter.client]
        if self._num_gone > self.size + _GONE_MAX:
            self._rebuild()

    def _rebuild(self) -> None:
        self._num_gone = 0
        self._order = deque(waiter for waiter in self._order if not waiter.gone)
        self._by_client = {}
        for waiter in self._order:
            self._by_client.setdefault(waiter.client, deque()).append(waiter)


def _sweep(waiters: deque[Waiter]) -> int:
    """Drop those at the front that have gone; returns how many."""
    count = 0
    while waiters and waiters[0].gone:
        waiters.popleft()
        count += 1
    return count

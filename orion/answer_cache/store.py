"""Finished answers, bounded by number, bytes and age. Its owner holds the lock."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orion.answer_cache.key import AnswerKey
    from orion.clock import Clock
    from orion.types import Usage

_ENTRY_BYTES = 1024
"""What an entry takes beside its text, rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """A whole answer that ended by itself: raw text, what it cost when made, and where."""

    text: str
    usage: Usage
    runtime: str

    @property
    def size_bytes(self) -> int:
        """Memory it takes, near enough."""
        return sys.getsizeof(self.text) + _ENTRY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An answer given again, `age_s` after it was made."""

    answer: StoredAnswer
    age_s: float


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: StoredAnswer
    stored_s: float


class AnswerStore:
    """Answers by key; the one not asked for the longest goes first.

    An answer that alone takes more than `size_bytes` is not kept.
    """

    def __init__(self, *, entries: int, size_bytes: int, ttl_s: float, clock: Clock) -> None:
        self._entries_max = entries
        self._size_max_bytes = size_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._by_use: OrderedDict[AnswerKey, _Entry] = OrderedDict()
        # Every answer lives equally long, so the order of storing is the order of expiry.
        self._by_age: OrderedDict[AnswerKey, None] = OrderedDict()
        self.size_bytes = 0
        self.stored = 0
        self.evicted = 0
        self.expired = 0

    def __len__(self) -> int:
        return len(self._by_use)

    def get(self, key: AnswerKey) -> Hit | None:
        """The answer of that key, if it is here and not too old."""
        self.expire()
        entry = self._by_use.get(key)
        if entry is None:
            return None
        self._by_use.move_to_end(key)
        return Hit(answer=entry.answer, age_s=self._clock.now() - entry.stored_s)

    def put(self, key: AnswerKey, answer: StoredAnswer) -> None:
        """Keep `answer`, at the expense of others where there is no room."""
        self.expire()
        self._drop(key)
        if answer.size_bytes > self._size_max_bytes:
            return
        self._by_use[key] = _Entry(answer, self._clock.now())
        self._by_age[key] = None
        self.size_bytes += answer.size_bytes
        self.stored += 1
        while len(self._by_use) > self._entries_max or self.size_bytes > self._size_max_bytes:
            self._drop(next(iter(self._by_use)))
            self.evicted += 1

    def purge(self, session: str) -> int:
        """Forget the answers of one session, by its opaque key; returns how many."""
        keys = [key for key in self._by_use if key.session == session]
        for key in keys:
            self._drop(key)
        return len(keys)

    def clear(self) -> int:
        """Forget all; returns how many there were."""
        count = len(self._by_use)
        self._by_use.clear()
        self._by_age.clear()
        self.size_bytes = 0
        return count

    def expire(self) -> None:
        """Forget what is too old."""
        now_s = self._clock.now()
        while self._by_age:
            oldest = next(iter(self._by_age))
            if now_s - self._by_use[oldest].stored_s < self._ttl_s:
                return
            self._drop(oldest)
            self.expired += 1

    def _drop(self, key: AnswerKey) -> None:
        entry = self._by_use.pop(key, None)
        if entry is not None:
            del self._by_age[key]
            self.size_bytes -= entry.answer.size_bytes

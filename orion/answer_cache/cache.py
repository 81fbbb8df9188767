"""The answer cache: an answer made once is given again, or heard while it is being made."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from orion.answer_cache.flight import Flight, Seat
from orion.answer_cache.key import Keyring
from orion.answer_cache.store import AnswerStore, Hit

if TYPE_CHECKING:
    from orion.answer_cache.flight import M, Source
    from orion.answer_cache.key import AnswerKey, Question
    from orion.answer_cache.store import StoredAnswer
    from orion.clock import Clock


class AnswerCache:
    """Finished answers and those being made, by key. Thread-safe.

    Looking, joining, and storing at the end are each one step under one lock: of any number of
    equal questions at once exactly one is generated, and none slips in between its end and
    its being stored.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        public: bool,
        entries: int,
        size_bytes: int,
        ttl_s: float,
        clock: Clock,
    ) -> None:
        self._enabled = enabled
        self._public = public
        self._clock = clock
        self._keyring = Keyring(public=public)
        self._lock = threading.RLock()
        self._store = AnswerStore(entries=entries, size_bytes=size_bytes, ttl_s=ttl_s, clock=clock)
        self._flights: set[Flight[Any]] = set()
        self._joinable: dict[AnswerKey, Flight[Any]] = {}
        self._hits = 0
        self._misses = 0
        self._joined = 0

    def session_key(self, session: str | None) -> str:
        """An opaque name for a session, for those who must not know it; "" where none."""
        return self._keyring.session_key(session)

    def key(self, question: Question) -> AnswerKey | None:
        """What its answer is stored under; None: it is made anew and nobody else gets it."""
        return self._keyring.answer_key(question) if self._enabled else None

    def board(
        self, key: AnswerKey | None, source: Source[M], *, shared: bool = True
    ) -> Hit | Seat[M]:
        """The answer, a place beside those who hear it being made, or a new flight from `source`.

        Args:
            key: None neither finds nor stores anything.
            source: Where the answer comes from if it is not here; untouched otherwise.
            shared: Whether others may join a flight that begins now.
        """
        self._catch_up(key)
        with self._lock:
            if key is not None:
                hit = self._store.get(key)
                if hit is not None:
                    self._hits += 1
                    return hit
                if key in self._joinable:
                    self._joined += 1
                    return Seat(self._joinable[key], leads=False)
                self._misses += 1
            flight = Flight(
                source, key=key, lock=self._lock, clock=self._clock, on_close=self._closed
            )
            self._flights.add(flight)
            if key is not None and shared:
                self._joinable[key] = flight
            return Seat(flight, leads=True)

    def purge(self, session: str) -> int:
        """Forget a session's answers, those being made included; returns how many were stored."""
        opaque = self._keyring.session_key(session)
        if not opaque:
            return 0
        with self._lock:
            for flight in list(self._flights):
                if flight.key is not None and flight.key.session == opaque:
                    self._forget(flight)
            return self._store.purge(opaque)

    def clear(self) -> int:
        """Forget everybody's; returns how many were stored."""
        with self._lock:
            for flight in list(self._flights):
                self._forget(flight)
            return self._store.clear()

    def stats(self) -> dict[str, Any]:
        """What is here and what has happened since the start; plain values."""
        with self._lock:
            store = self._store
            store.expire()
            return {
                "enabled": self._enabled,
                "public": self._public,
                "entries": len(store),
                "bytes": store.size_bytes,
                "flights": len(self._flights),
                "hits": self._hits,
                "misses": self._misses,
                "joined": self._joined,
                "stored": store.stored,
                "evicted": store.evicted,
                "expired": store.expired,
            }

    def _catch_up(self, key: AnswerKey | None) -> None:
        """Nobody is to join what has ended, though none of its callers has heard so."""
        with self._lock:
            flight = self._joinable.get(key) if key is not None else None
        if flight is not None:
            flight.catch_up()

    def _closed(self, flight: Flight[Any], answer: StoredAnswer | None) -> None:
        """Nobody joins `flight` any more; it may have ended. Under the lock."""
        self._withdraw(flight)
        if flight.is_over or flight.is_abandoned:
            self._flights.discard(flight)
        wanted = flight.keeps and not flight.is_abandoned
        if wanted and flight.key is not None and answer is not None:
            self._store.put(flight.key, answer)

    def _forget(self, flight: Flight[Any]) -> None:
        flight.keeps = False
        self._withdraw(flight)

    def _withdraw(self, flight: Flight[Any]) -> None:
        if flight.key is not None and self._joinable.get(flight.key) is flight:
            del self._joinable[flight.key]

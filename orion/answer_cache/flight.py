"""One generation that several callers hear: each from its beginning, whoever leaves.

There is no thread of its own. Whoever wants the next message and finds nobody reading the
source reads it, for all; the others wait until it has. So a caller that goes, even the one
that caused the generation, hands over by going. With the last one the generation ends.
"""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from orion.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orion.answer_cache.key import AnswerKey
    from orion.answer_cache.store import StoredAnswer
    from orion.clock import Clock

M = TypeVar("M")


class MessageKind(StrEnum):
    """What a message means to those who hear it later.

    PROGRESS: nothing once a later one of its type, or a part, has come. PART: belongs to the
    answer. TURN: so too, and nobody joins any more. LAST: nothing comes after it.
    """

    PROGRESS = "progress"
    PART = "part"
    TURN = "turn"
    LAST = "last"


class Source(Protocol[M]):
    """Where the messages of one generation come from. No method is called under a lock."""

    def start(self) -> None:
        """Begin. Called once, before the first `get`; again only where it raised."""

    def get(self, timeout_s: float) -> M | None:
        """The next message, or None when none came in time. One caller at a time."""

    def cancel(self) -> None:
        """Nobody listens any more; any thread, maybe twice, maybe before `start`."""

    def kind(self, message: M) -> MessageKind:
        """What a message means."""

    def answer(self, messages: Sequence[M]) -> StoredAnswer | None:
        """What to keep of a generation that ended, or None."""


class Flight(Generic[M]):
    """What a source has said so far. The lock is shared by all flights of a cache.

    One lock, re-entrant, because a caller that is collected as garbage leaves on whichever
    thread the collector runs, even inside another call of this class.
    """

    def __init__(
        self,
        source: Source[M],
        *,
        key: AnswerKey | None,
        lock: threading.RLock,
        clock: Clock,
        on_close: Callable[[Flight[M], StoredAnswer | None], None],
    ) -> None:
        self.source = source
        self.key = key
        self.clock = clock
        self.changed = threading.Condition(lock)
        self.keeps = True
        self.is_over = False
        self.is_abandoned = False
        self.is_being_read = False
        self.num_seats = 0
        self.log: list[M] = []
        self.progress: dict[type, tuple[int, M]] = {}
        self._num_progress = 0
        self._started = False
        self._on_close = on_close

    def catch_up(self) -> None:
        """Take what was said and nobody has read: where its callers are slow, it may be over."""
        while True:
            with self.changed:
                if not self._started or self.is_over or self.is_being_read:
                    return
                self.is_being_read = True
            if not self.read(0.0):
                return

    def read(self, timeout_s: float) -> bool:
        """Take the next message off the source, for all. Only who set `is_being_read`.

        Returns whether there was one.
        """
        message: M | None = None
        kind: MessageKind | None = None
        answer: StoredAnswer | None = None
        try:
            self._start()
            message = self.source.get(timeout_s)
            if message is not None:
                kind = self.source.kind(message)
                if kind is MessageKind.LAST:
                    answer = self.source.answer([*self.log, message])
        finally:
            with self.changed:
                self.is_being_read = False
                if message is not None and kind is not None:
                    self._take(message, kind, answer)
                self.changed.notify_all()
        return message is not None

    def _start(self) -> None:
        if not self._started:
            self.source.start()
            self._started = True
            if self.is_abandoned:  # they left, and cancelled, before there was anything
                self.source.cancel()

    def _take(self, message: M, kind: MessageKind, answer: StoredAnswer | None) -> None:
        if kind is MessageKind.PROGRESS:
            self._num_progress += 1
            self.progress.pop(type(message), None)
            self.progress[type(message)] = (self._num_progress, message)
            return
        self.progress.clear()
        self.log.append(message)
        self.is_over = kind is MessageKind.LAST
        if kind is not MessageKind.PART:
            self._on_close(self, answer)

    def left(self) -> bool:
        """One caller fewer, under the lock; True when the source is to be cancelled."""
        self.num_seats -= 1
        if self.num_seats or self.is_over:
            return False
        self.is_abandoned = True
        self._on_close(self, None)
        return True


class Seat(Generic[M]):
    """One caller's place in a flight: everything said, from the beginning, in order.

    Made under the lock of the flight. `leads`: the flight began for this caller.
    """

    def __init__(self, flight: Flight[M], *, leads: bool) -> None:
        self.leads = leads
        self._flight = flight
        self._has_left = False
        self._num_heard = 0
        self._num_before = len(flight.log)
        self._progress_heard = 0
        flight.num_seats += 1

    @property
    def is_catching_up(self) -> bool:
        """Whether the message heard last had been said before this caller came."""
        return 0 < self._num_heard <= self._num_before

    def get(self, timeout_s: float) -> M | None:
        """The next message, or None when none came in time.

        Raises:
            CancelledError: `leave` was called, maybe on another thread.
        """
        flight = self._flight
        now = flight.clock.now
        until_s = now() + timeout_s
        with flight.changed:
            while (message := self._next()) is None and flight.is_being_read:
                left_s = until_s - now()
                if left_s <= 0 or not flight.changed.wait(left_s):
                    return self._next()
            if message is not None or flight.is_over:
                return message
            flight.is_being_read = True
        flight.read(max(0.0, until_s - now()))
        with flight.changed:
            return self._next()

    def leave(self) -> None:
        """Hear no more; the last one to leave ends the generation. From any thread."""
        flight = self._flight
        with flight.changed:
            if self._has_left:
                return
            self._has_left = True
            is_last = flight.left()
            flight.changed.notify_all()
        if is_last:
            flight.source.cancel()

    def _next(self) -> M | None:
        if self._has_left:
            raise CancelledError
        flight = self._flight
        if self._num_heard < len(flight.log):
            self._num_heard += 1
            return flight.log[self._num_heard - 1]
        for count, message in flight.progress.values():
            if count > self._progress_heard:
                self._progress_heard = count
                return message
        return None

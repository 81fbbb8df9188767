"""The engine's blocking event streams, brought onto the event loop.

One pool thread walks one `Engine.stream`; what concerns a client goes to the loop in
batches: a burst of events costs one wake-up and becomes one write. Where a client reads
slowly, the thread waits, so that the engine sees it and ends the answer by its own rule.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from orion.errors import GenerationError, OrionError, OverloadedError, ShuttingDownError
from orion.types import (
    DeltaEvent,
    ErrorEvent,
    FinalEvent,
    RequestState,
    RouteEvent,
    StateEvent,
    Timings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.api.seam import ServedEngine
    from orion.types import Event

    Carried = RouteEvent | DeltaEvent | FinalEvent | ErrorEvent

BUFFER_CHARS = 262_144
CROWD_S = 0.15
_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Batch:
    """What came since the last look: text, and the last event once it is there."""

    text: str
    end: FinalEvent | ErrorEvent | None


class EventFeed:
    """Events of one request on their way from its thread to the event loop.

    `put` and `decided`, whether the engine has made up its mind to admit the request, belong
    to the thread, everything else to the loop that made the feed.
    """

    def __init__(self, cancel: Callable[[], object], *, buffer_chars: int = BUFFER_CHARS) -> None:
        self.model: str | None = None
        self.decided = False
        self._cancel = cancel
        self._buffer_chars = buffer_chars
        self._waiting_chars = 0
        self._room = threading.Condition()
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._events: deque[Carried] = deque()
        self._woken = False
        self._abandoned = False

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for more; the thread reads it after every event."""
        return self._abandoned or self._loop.is_closed()

    def put(self, event: Carried) -> None:
        """Hand `event` over, waking the loop unless it is already on its way."""
        if isinstance(event, DeltaEvent):
            with self._room:
                self._waiting_chars += len(event.text)
        self._events.append(event)
        if self._woken:
            return
        self._woken = True
        with suppress(RuntimeError):  # the loop is closed: `abandoned` says so
            self._loop.call_soon_threadsafe(self._ready.set)

    def wait_for_room(self, limit_s: float) -> None:
        """Until the client has taken enough of what was put, or left; at most `limit_s`."""
        until_s = time.monotonic() + limit_s
        with self._room:
            while self._waiting_chars >= self._buffer_chars and not self.abandoned:
                if time.monotonic() >= until_s:
                    return
                self._room.wait(_LOOK_S)  # a loop that was closed wakes nobody

    def abandon(self) -> None:
        """Nobody listens any more: end the request, unless it has ended by itself."""
        if self._abandoned:
            return
        with self._room:
            self._abandoned = True
            self._room.notify()
        self._ready.set()
        if not self._ended:
            self._cancel()

    async def batch(self) -> Batch:
        """Everything that has come, once there is text or the end.

        Raises:
            ClientDisconnect: The feed was abandoned.
        """
        while True:
            await self._ready.wait()
            if self._abandoned:
                raise ClientDisconnect
            self._ready.clear()
            # Before draining: an event put after this line wakes the loop again.
            self._woken = False
            batch = self._drain()
            if batch.text or batch.end is not None:
                return batch

    def _drain(self) -> Batch:
        texts: list[str] = []
        end = None
        while self._events and end is None:
            event = self._events.popleft()
            if isinstance(event, DeltaEvent):
                texts.append(event.text)
            elif isinstance(event, RouteEvent):
                self.model = event.model
            else:
                self._ended, end = True, event
        text = "".join(texts)
        with self._room:
            self._waiting_chars -= len(text)
            self._room.notify()
        return Batch(text, end)


class EventBridge:
    """Runs engine streams, each in a thread of its own pool.

    Args:
        engine: What answers.
        room: How many requests the engine may hold, running and waiting.
        spare: How many streams there may be besides: of answers known or under way already,
            which the engine holds no place for, and of those that are just ending.
    """

    def __init__(self, engine: ServedEngine, *, room: int, spare: int) -> None:
        self._engine = engine
        self._room = room
        self._capacity = room + spare
        self._lock = threading.Lock()
        self._open = 0
        self._undecided = 0
        self._coming = 0
        self._num_seen = 0
        self._threads = ThreadPoolExecutor(self._capacity, thread_name_prefix="orion-api")

    @property
    def has_place(self) -> bool:
        """Whether another stream may be opened."""
        return self._open < self._capacity

    def refusal(self, client: str) -> OrionError | None:
        """What `client` would hear if it asked now, or None: it may be let in. Event loop only.

        The engine knows of a request only once a thread has brought it there. Of those still
        on their way as many are let through as there may ever be places.
        """
        error = self._engine.door(client)
        self._num_seen += 1
        on_the_way = self._undecided + self._coming
        if error is None and (on_the_way >= self._room or not self.has_place):
            error = self._overloaded()
        return error

    async def let_others_by(self) -> None:
        """Count as on the way to the engine, but wait while others come with every turn.

        Where a crowd comes at once, those that are refused are gone before the threads of
        those that are let in begin to compete with the loop. Alone it is two turns of the loop.
        """
        self._coming += 1
        until_s = time.monotonic() + CROWD_S
        try:
            seen = -1
            while seen != self._num_seen and time.monotonic() < until_s:
                seen = self._num_seen
                await asyncio.sleep(0)  # what has come is read in one turn
                await asyncio.sleep(0)  # and looked at in the next
        finally:
            self._coming -= 1

    def turned_away(self, error: OrionError) -> None:
        """Count a request that was refused here."""
        self._engine.metrics.refused(error.code)

    def open(self, *, request_id: str, **arguments: Any) -> EventFeed:
        """Start `engine.stream(**arguments)` and return its feed. Event loop only.

        Raises:
            OverloadedError: There is no thread for it.
            ShuttingDownError: The interpreter is ending.
        """
        if not self.has_place:
            error = self._overloaded()
            self.turned_away(error)
            raise error
        buffer_chars = self._engine.settings.stream.buffer_bytes
        feed = EventFeed(partial(self._engine.cancel, request_id), buffer_chars=buffer_chars)
        self._count(opened=1, undecided=1)
        try:
            self._threads.submit(self._walk, feed, {"request_id": request_id, **arguments})
        except RuntimeError as error:
            self._count(opened=-1, undecided=-1)
            raise ShuttingDownError from error
        return feed

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(
            queue_max=self._engine.settings.queue_max, retry_after_s=self._engine.retry_after_s()
        )

    def _count(self, *, opened: int = 0, undecided: int = 0) -> None:
        with self._lock:
            self._open += opened
            self._undecided += undecided

    def _walk(self, feed: EventFeed, arguments: dict[str, Any]) -> None:
        try:
            ended = self._forward(feed, arguments)
        except Exception:
            self._engine.log.exception("stream_broke", request_id=arguments["request_id"])
            feed.put(_error_event(arguments["request_id"], OrionError()))
        else:
            if not ended:
                endless = GenerationError(reason="it ended without a result")
                feed.put(_error_event(arguments["request_id"], endless))
        finally:
            self._decide(feed)
            self._count(opened=-1)

    def _decide(self, feed: EventFeed) -> None:
        if not feed.decided:
            feed.decided = True
            self._count(undecided=-1)

    def _forward(self, feed: EventFeed, arguments: dict[str, Any]) -> bool:
        """Carry events until the stream ends (was there a last event?) or nobody listens."""
        events = self._engine.stream(**arguments)
        ended = False
        try:
            for event in events:
                if feed.abandoned:
                    return True
                self._take(feed, event)
                ended = ended or isinstance(event, FinalEvent | ErrorEvent)
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()
        return ended

    def _take(self, feed: EventFeed, event: Event) -> None:
        """Hand on what concerns a client, and wait for one that is slow."""
        if not _is_before_the_queue(event):
            self._decide(feed)
        if isinstance(event, RouteEvent | FinalEvent | ErrorEvent):
            feed.put(event)
        elif isinstance(event, DeltaEvent) and event.text:
            feed.put(event)
            # Longer than the engine waits for a reader: it speaks the last word.
            feed.wait_for_room(2 * self._engine.settings.deadline.reader_s)


def _is_before_the_queue(event: Event) -> bool:
    """Whether it comes before the engine has made up its mind whether to admit the request."""
    if isinstance(event, StateEvent):
        return event.state is not RequestState.INFERENCING
    return isinstance(event, RouteEvent)


def _error_event(request_id: str, error: OrionError) -> ErrorEvent:
    return ErrorEvent(request_id=request_id, error=error, text="", states=(), timings=Timings())

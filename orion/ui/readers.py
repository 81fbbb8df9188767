"""Who reads the results of the Gradio endpoints, so that no answer is made for nobody.

Gradio runs a call whether or not anybody ever fetches its result. What is known here comes
from the connections alone: which result streams are open, and which of them take what is sent.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from gradio.context import LocalContext
from starlette.exceptions import HTTPException

from orion.clock import MonotonicClock
from orion.errors import SlowReaderError

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from orion.clock import Clock
    from orion.types import Event

UNREAD_S = 10.0
"""A call whose result nobody fetches is given up after this, or `deadline.reader_s` if shorter."""
_SESSION = re.compile(r"/gradio_api/queue/data/?$")
_CALL = re.compile(r"/gradio_api/call/(?:v2/)?[^/]+/([^/]+)/?$")


class Reader:
    """One open connection that fetches results."""

    def __init__(self) -> None:
        self.blocked_since_s: float | None = None


class Readers:
    """The open result streams, by session or call id. Thread-safe."""

    def __init__(self, *, limit_s: float, clock: Clock | None = None) -> None:
        self.limit_s = limit_s
        self.clock = clock or MonotonicClock()
        self._lock = threading.Lock()
        self._open: defaultdict[str, set[Reader]] = defaultdict(set)

    def came(self, key: str, reader: Reader) -> None:
        """`reader` fetches what belongs to `key`."""
        with self._lock:
            self._open[key].add(reader)

    def left(self, key: str, reader: Reader) -> None:
        """Its connection is over."""
        with self._lock:
            self._open[key].discard(reader)
            if not self._open[key]:
                del self._open[key]

    def of(self, keys: frozenset[str]) -> list[Reader]:
        """Who reads any of `keys` now."""
        with self._lock:
            return [reader for key in keys if key in self._open for reader in self._open[key]]

    def here(self) -> Attention:
        """The attention paid to the call that runs in this thread; outside one it never ends."""
        request = LocalContext.request.get(None)
        keys = (getattr(request, "session_hash", None), LocalContext.event_id.get(None))
        return Attention(self, frozenset(key for key in keys if isinstance(key, str) and key))


class Attention:
    """Whether anybody takes what one call says. Belongs to the call's thread.

    Attributes:
        has_begun: Somebody has come to read, as far as `is_lost` has seen.
    """

    def __init__(self, readers: Readers, keys: frozenset[str]) -> None:
        self._readers = readers
        self._keys = keys
        self._heard_s = readers.clock.now()
        self.has_begun = not keys

    def is_lost(self) -> bool:
        """Whether it is time to give up: nobody came, or what was sent is not taken."""
        now = self._readers.clock.now()
        open_now = self._readers.of(self._keys)
        self.has_begun = self.has_begun or bool(open_now)
        since = [reader.blocked_since_s for reader in open_now]
        if not self._keys or None in since:
            self._heard_s = now
            return False
        if not open_now:
            return now - self._heard_s >= min(UNREAD_S, self._readers.limit_s)
        self._heard_s = max(self._heard_s, *(stamp for stamp in since if stamp is not None))
        return now - self._heard_s >= self._readers.limit_s


def attended(events: Generator[Event], attention: Attention) -> Generator[Event]:
    """`events`, kept back until somebody comes for them; closing it closes them.

    From then on they are handed over without fail: only so does Gradio see who has left.

    Raises:
        SlowReaderError: Nobody took them for too long. The request is cancelled.
    """
    kept: list[Event] = []
    try:
        for event in events:
            if attention.is_lost():
                raise SlowReaderError
            kept.append(event)
            if attention.has_begun:
                yield from kept
                kept.clear()
        yield from kept
    finally:
        events.close()


class ReaderWatch:
    """ASGI middleware: tells `readers` of every connection that fetches results."""

    def __init__(self, app: ASGIApp, *, readers: Readers) -> None:
        self._app = app
        self._readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        key = _key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        reader = Reader()

        async def stamped(message: Message) -> None:
            reader.blocked_since_s = self._readers.clock.now()
            await send(message)
            reader.blocked_since_s = None

        self._readers.came(key, reader)
        try:
            await self._app(scope, receive, stamped)
        except RuntimeError as error:
            # Gradio raises "not found" when its stream has begun; the stream has said so.
            if not isinstance(error.__cause__, HTTPException):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._readers.left(key, reader)


def _key(scope: Scope) -> str | None:
    """The session or call whose results are fetched, if any are."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    if _SESSION.search(scope["path"]):
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return query.get("session_hash", [None])[0]
    found = _CALL.search(scope["path"])
    return found[1] if found else None

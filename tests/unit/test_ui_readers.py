"""Who reads a result, and when to give up on them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from orion.clock import ManualClock
from orion.errors import SlowReaderError
from orion.types import Event
from orion.ui.readers import UNREAD_S, Attention, Reader, Readers, ReaderWatch, attended
from tests.fakes.engine import Call, Endless, delta

CALL = Call("x", {"request_id": "r"})
KEYS = frozenset(["session", "call"])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def readers(clock: ManualClock) -> Readers:
    return Readers(limit_s=30.0, clock=clock)


class TestAttention:
    def test_a_call_nobody_comes_for_is_given_up(
        self, readers: Readers, clock: ManualClock
    ) -> None:
        """After ten seconds."""
        attention = Attention(readers, KEYS)

        clock.advance(UNREAD_S - 0.1)
        assert not attention.is_lost()
        clock.advance(0.1)
        assert attention.is_lost()

    def test_a_shorter_patience_counts_for_it_too(self, clock: ManualClock) -> None:
        """The setting is the upper limit."""
        attention = Attention(Readers(limit_s=1.0, clock=clock), KEYS)

        clock.advance(1.0)

        assert attention.is_lost()

    @pytest.mark.parametrize("key", sorted(KEYS))
    def test_whoever_reads_keeps_it_going(
        self, readers: Readers, clock: ManualClock, key: str
    ) -> None:
        """By the session or by the call, for as long as it takes."""
        attention = Attention(readers, KEYS)
        readers.came(key, Reader())

        clock.advance(1_000.0)

        assert not attention.is_lost()
        assert attention.has_begun

    def test_another_session_s_reader_does_not(self, readers: Readers, clock: ManualClock) -> None:
        """Each call is its own."""
        attention = Attention(readers, KEYS)
        readers.came("other", Reader())

        clock.advance(UNREAD_S)

        assert attention.is_lost()
        assert not attention.has_begun

    def test_a_reader_who_leaves_has_been_there(self, readers: Readers, clock: ManualClock) -> None:
        """The count starts when it was last seen."""
        attention, reader = Attention(readers, KEYS), Reader()
        readers.came("session", reader)
        clock.advance(100.0)
        assert not attention.is_lost()

        readers.left("session", reader)
        clock.advance(UNREAD_S - 0.1)
        assert not attention.is_lost()
        clock.advance(0.1)

        assert attention.has_begun
        assert attention.is_lost()

    def test_a_reader_who_takes_nothing_is_given_more_time(
        self, readers: Readers, clock: ManualClock
    ) -> None:
        """`deadline.reader_s`, from the moment it stopped taking."""
        attention, reader = Attention(readers, KEYS), Reader()
        readers.came("session", reader)
        clock.advance(100.0)
        reader.blocked_since_s = clock.now()

        clock.advance(29.9)
        assert not attention.is_lost()
        clock.advance(0.1)

        assert attention.is_lost()

    def test_outside_a_call_of_gradio_it_never_ends(
        self, readers: Readers, clock: ManualClock
    ) -> None:
        """Nobody can be expected to fetch anything."""
        attention = readers.here()

        clock.advance(1_000.0)

        assert not attention.is_lost()
        assert attention.has_begun


class TestAttended:
    def test_nothing_is_handed_over_before_somebody_comes(self, readers: Readers) -> None:
        """It would pile up where nobody takes it; nothing of it is lost."""

        def told() -> Iterator[Event]:
            yield delta(CALL, "a")
            yield delta(CALL, "b")
            readers.came("session", Reader())
            yield delta(CALL, "c")
            yield delta(CALL, "d")

        pieces = [event.text for event in attended(told(), Attention(readers, KEYS))]  # type: ignore[union-attr,arg-type]

        assert pieces == ["a", "b", "c", "d"]

    def test_an_end_is_left_for_who_comes_late(self, readers: Readers) -> None:
        """A short answer is over before its reader is there."""
        events: Any = (delta(CALL, piece) for piece in "ab")

        assert len(list(attended(events, Attention(readers, KEYS)))) == 2

    def test_giving_up_closes_the_request(self, readers: Readers, clock: ManualClock) -> None:
        """With an error that a late reader finds."""
        endless: Any = Endless()(CALL)
        stream = attended(endless, Attention(readers, KEYS))
        clock.advance(UNREAD_S)

        with pytest.raises(SlowReaderError):
            next(stream)

        assert endless.gi_frame is None

    def test_closing_it_closes_the_request(self, readers: Readers) -> None:
        """As Gradio does when a reader has left."""
        readers.came("session", Reader())
        endless: Any = Endless()(CALL)
        stream = attended(endless, Attention(readers, KEYS))
        next(stream)

        stream.close()

        assert endless.gi_frame is None


def scope(path: str, query: str = "", method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "query_string": query.encode()}


async def receive() -> Any:
    return {"type": "http.disconnect"}


class TestReaderWatch:
    @pytest.mark.parametrize(
        ("path", "query", "key"),
        [
            ("/gradio_api/queue/data", "session_hash=abc", "abc"),
            ("/prefix/gradio_api/queue/data", "session_hash=a%20b&x=1", "a b"),
            ("/gradio_api/call/chat/0123", "", "0123"),
            ("/gradio_api/call/v2/chat_events/0123", "", "0123"),
        ],
    )
    def test_a_connection_counts_while_it_is_open(
        self, readers: Readers, clock: ManualClock, path: str, query: str, key: str
    ) -> None:
        """And shows when what is sent is not taken."""
        seen: list[Any] = []

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            seen.append(len(readers.of(frozenset([key]))))
            await send({"type": "http.response.start"})

        async def send(_message: Any) -> None:
            seen.append(readers.of(frozenset([key]))[0].blocked_since_s)

        asyncio.run(ReaderWatch(app, readers=readers)(scope(path, query), receive, send))

        assert seen == [1, clock.now()]
        assert readers.of(frozenset([key])) == []

    @pytest.mark.parametrize(
        "asked",
        [
            scope("/gradio_api/queue/data"),
            scope("/gradio_api/queue/join"),
            scope("/gradio_api/call/chat", method="POST"),
            scope("/"),
            {"type": "lifespan"},
        ],
    )
    def test_others_pass(self, readers: Readers, asked: dict[str, Any]) -> None:
        """They fetch no result."""
        passed: list[Any] = []

        async def app(*given: Any) -> None:
            passed.append(given)

        asyncio.run(ReaderWatch(app, readers=readers)(asked, receive, None))  # type: ignore[arg-type]

        assert passed == [(asked, receive, None)]

    def test_an_unknown_session_is_no_traceback(self, readers: Readers) -> None:
        """Gradio tells the reader, then raises into a response that has begun."""
        sent: list[Any] = []

        async def app(*_: Any) -> None:
            raise RuntimeError from HTTPException(404)

        async def send(message: Any) -> None:
            sent.append(message)

        asked = scope("/gradio_api/queue/data", "session_hash=abc")
        asyncio.run(ReaderWatch(app, readers=readers)(asked, receive, send))

        assert sent == [{"type": "http.response.body", "body": b"", "more_body": False}]

    def test_a_bug_is_not_hidden(self, readers: Readers) -> None:
        """It goes on to whoever logs it."""

        async def app(*_: Any) -> None:
            raise RuntimeError

        asked = scope("/gradio_api/queue/data", "session_hash=abc")
        with pytest.raises(RuntimeError):
            asyncio.run(ReaderWatch(app, readers=readers)(asked, receive, None))  # type: ignore[arg-type]
        assert readers.of(frozenset(["abc"])) == []

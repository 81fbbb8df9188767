"""The edges of bridge and endpoint that no well-behaved server reaches."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from orion.api.bridge import EventBridge, EventFeed
from orion.api.endpoint import Endpoint, Exchange
from orion.api.wire import Problem
from orion.errors import OrionError, OverloadedError, ShuttingDownError, TooManyRequestsError
from tests.fakes.asgi import AsgiClient
from tests.fakes.engine import Call, Endless, Gated, ScriptedEngine, delta, silent_before
from tests.process.test_worker_process import wait_for

CALL = Call("x", {"request_id": "r"})


class TestEventFeed:
    def test_event_for_a_closed_loop_abandons_the_feed(self):
        """The thread learns that the server has gone and closes its stream."""
        cancelled: list[str] = []

        async def make() -> EventFeed:
            return EventFeed(lambda: cancelled.append("r"))

        feed = asyncio.run(make())

        feed.put(delta(CALL, "late"))

        assert feed.abandoned
        assert cancelled == []

    def test_abandoning_twice_cancels_once(self):
        """The watcher and the end of the request may both do it."""
        cancelled: list[str] = []

        async def abandon() -> None:
            feed = EventFeed(lambda: cancelled.append("r"))
            feed.abandon()
            feed.abandon()

        asyncio.run(abandon())

        assert cancelled == ["r"]

    def test_text_put_in_many_pieces_is_one_batch(self):
        """Order is kept, nothing is lost, one wake-up."""

        async def take() -> str:
            feed = EventFeed(lambda: None)
            for piece in ("a", "b", "c"):
                await asyncio.to_thread(feed.put, delta(CALL, piece))
            return (await feed.batch()).text

        assert asyncio.run(take()) == "abc"

    def test_thread_waits_while_the_client_takes_nothing(self):
        """Until it takes something; order and text are kept."""

        async def fill_and_take() -> tuple[bool, str]:
            feed = EventFeed(lambda: None, buffer_chars=4)
            full = asyncio.Event()
            loop = asyncio.get_running_loop()

            def walk() -> None:
                feed.put(delta(CALL, "1234"))
                loop.call_soon_threadsafe(full.set)
                feed.wait_for_room(60.0)
                feed.put(delta(CALL, "5"))

            thread = asyncio.create_task(asyncio.to_thread(walk))
            await full.wait()
            waited = not thread.done()
            text = (await feed.batch()).text
            await thread
            return waited, text + (await feed.batch()).text

        assert asyncio.run(fill_and_take()) == (True, "12345")

    def test_thread_does_not_wait_for_a_client_that_left(self):
        """Nor for one whose server has gone, nor longer than it is told to."""

        async def fill() -> EventFeed:
            feed = EventFeed(lambda: None, buffer_chars=1)
            feed.put(delta(CALL, "12"))
            feed.wait_for_room(0.0)
            waiting = asyncio.create_task(asyncio.to_thread(feed.wait_for_room, 60.0))
            feed.abandon()
            await waiting
            other = EventFeed(lambda: None, buffer_chars=1)
            other.put(delta(CALL, "12"))
            return other

        feed = asyncio.run(fill())

        feed.wait_for_room(60.0)
        assert feed.abandoned


class TestEventBridge:
    def test_stream_after_the_pool_has_ended_is_refused(self):
        """A request at the very end of the process gets an error, its place comes back."""
        bridge = EventBridge(ScriptedEngine(), room=1, spare=0)
        bridge._threads.shutdown()

        async def ask() -> None:
            bridge.open(request_id="r", text="x")

        for _ in range(2):
            with pytest.raises(ShuttingDownError):
                asyncio.run(ask())

    def test_loop_that_dies_under_a_stream_frees_its_place(self):
        """No goodbye is needed: the next event finds nobody."""
        endless = Endless()
        engine = ScriptedEngine(endless)
        bridge = EventBridge(engine, room=1, spare=0)

        async def ask_and_vanish() -> None:
            bridge.open(request_id="r", text="x")
            await asyncio.to_thread(endless.started.wait, 5)

        asyncio.run(ask_and_vanish())

        assert engine.closed.wait(0.5)

    def test_streams_beyond_the_threads_are_refused_when_it_is_worth_coming_back(self):
        """The engine says when; the place comes back with the stream's end."""
        endless = Endless()
        engine = ScriptedEngine(endless)
        bridge = EventBridge(engine, room=1, spare=0)

        async def ask_twice() -> OverloadedError:
            feed = bridge.open(request_id="r", text="x")
            with pytest.raises(OverloadedError) as caught:
                bridge.open(request_id="s", text="x")
            feed.abandon()
            return caught.value

        error = asyncio.run(ask_twice())

        assert error.facts == {"queue_max": engine.settings.queue_max, "retry_after_s": 2.5}
        assert engine.metrics.codes == ["overloaded"]
        assert wait_for(lambda: bridge.has_place)

    def test_as_many_are_on_their_way_to_the_engine_as_it_has_places(self):
        """It does not know of them yet; those that it has heard are its own to count."""
        gate = Gated("x")
        engine = ScriptedEngine(silent_before(gate))
        bridge = EventBridge(engine, room=2, spare=2)

        async def ask_thrice() -> list[OrionError | None]:
            heard = []
            for name in ("r", "s"):
                heard.append(bridge.refusal("someone"))
                bridge.open(request_id=name, text="x")
            return [*heard, bridge.refusal("someone")]

        first, second, third = asyncio.run(ask_thrice())
        engine.hold.set()

        assert (first, second) == (None, None)
        assert isinstance(third, OverloadedError)
        assert wait_for(lambda: bridge.refusal("someone") is None)
        gate.release(4)

    def test_engine_that_is_full_is_believed(self):
        """Its word for this client, whatever is on its way."""
        engine = ScriptedEngine()
        error = TooManyRequestsError(held=9, retry_after_s=3)
        engine.full = {"session:hog": error}.get

        bridge = EventBridge(engine, room=2, spare=2)

        assert bridge.refusal("session:hog") is error
        assert bridge.refusal("session:other") is None


class TestEndpoint:
    @pytest.mark.parametrize("error", [ValueError("inside"), OrionError()])
    def test_failure_after_the_headers_breaks_the_connection(self, error):
        """A second status line would be worse than a cut: the server closes."""

        async def broken(exchange: Exchange) -> None:
            await exchange.start(200, {})
            raise error

        with pytest.raises(type(error)):
            AsgiClient(Endpoint({"GET": broken}))("GET", "/")

    @pytest.mark.parametrize(
        ("status", "retryable", "after_s", "header"),
        [
            (429, True, None, "1"),
            (429, True, 7.2, "8"),
            (503, True, None, "1"),
            (503, False, None, None),
            (500, True, None, None),
        ],
    )
    def test_refusal_that_will_pass_says_when(self, status, retryable, after_s, header):
        """429 and 503 always do; other statuses where the time is known."""
        problem = Problem(
            status=status, code="c", message="m", retryable=retryable, retry_after_s=after_s
        )

        async def refuse(exchange: Exchange) -> None:
            await exchange.refuse(problem)

        reply = AsgiClient(Endpoint({"GET": refuse}))("GET", "/")

        assert reply.headers.get("retry-after") == header
        kind: Any = {429: "rate_limit_error"}.get(status, "server_error")
        assert reply.error["type"] == kind

    def test_reading_away_a_body_has_an_end(self, monkeypatch):
        """A client that pours for ever is cut off."""
        monkeypatch.setattr("orion.api.endpoint.LINGER_BYTES", 1000)

        async def refuse(exchange: Exchange) -> None:
            await exchange.refuse(Problem(status=413, code="c", message="m"))

        client = AsgiClient(Endpoint({"POST": refuse}))
        length = {"content-length": str(math.floor(1e12))}

        reply = client("POST", "/", body=[b"x" * 100] * 50, headers=length)

        assert reply.complete
        assert client.parts_read == 10

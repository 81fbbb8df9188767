"""Clients that leave a chat request, and more of them than there are places."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.fakes.asgi import ASK, AsgiClient, Reply, chat_body, client_of, post_chat
from tests.fakes.engine import Call, Endless, ScriptedEngine, answering, silent_before
from tests.process.test_worker_process import wait_for

STREAM = {**ASK, "stream": True}
PATH = "/v1/chat/completions"


def api_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "orion-api" in thread.name]


def running(engine: Any) -> int:
    return int(engine.stats()["requests"]["running"])


async def leave_after(client: AsgiClient, endless: Endless, *, after_text: bool) -> None:
    gone = asyncio.Event()

    def on_part(_: bytes) -> None:
        if after_text:
            gone.set()

    asking = asyncio.create_task(
        client.exchange("POST", PATH, **chat_body(STREAM), on_part=on_part, gone=gone)
    )
    if not after_text:
        await asyncio.to_thread(endless.started.wait, 5)
        gone.set()
    await asking


class TestLeaving:
    @pytest.mark.parametrize(("silent", "after_text"), [(False, True), (True, False)])
    def test_client_that_leaves_closes_the_engines_stream(self, silent, after_text):
        """Within the text or while waiting for it: half a second at most."""
        endless = Endless(silent=silent)
        engine = ScriptedEngine(endless)

        asyncio.run(leave_after(client_of(engine), endless, after_text=after_text))

        assert engine.closed.wait(0.5)
        assert engine.cancelled == [engine.calls[0].request_id]

    def test_answer_that_ended_is_not_cancelled(self):
        """Only a client that leaves early cancels."""
        engine = ScriptedEngine()

        post_chat(client_of(engine), STREAM)
        post_chat(client_of(engine), ASK)

        assert engine.cancelled == []

    def test_task_that_is_cancelled_closes_the_engines_stream(self):
        """The server stopping counts as the client leaving."""
        endless = Endless()
        engine = ScriptedEngine(endless)
        client = client_of(engine)

        async def cancel_it() -> None:
            asking = asyncio.create_task(client.exchange("POST", PATH, **chat_body(STREAM)))
            await asyncio.to_thread(endless.started.wait, 5)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

        asyncio.run(cancel_it())

        assert engine.closed.wait(0.5)

    def test_loop_that_ends_lets_the_stream_go(self):
        """A closed event loop is nobody listening."""
        endless = Endless()
        engine = ScriptedEngine(endless)
        client = client_of(engine)
        loop = asyncio.new_event_loop()

        async def ask() -> None:
            task = asyncio.create_task(client.exchange("POST", PATH, **chat_body(STREAM)))
            await asyncio.to_thread(endless.started.wait, 5)
            task.cancel()

        loop.run_until_complete(ask())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

        assert engine.closed.wait(0.5)

    def test_nothing_is_left_after_many_who_left(self):
        """Places come back, tasks end, threads stay few."""
        client_engine = ScriptedEngine(Endless(), queue_max=0, worker={"slots": 1})
        client = client_of(client_engine)

        async def many() -> set[asyncio.Task]:
            for _ in range(12):
                endless = Endless()
                client_engine.script = endless
                client_engine.closed.clear()
                await leave_after(client, endless, after_text=True)
                await asyncio.to_thread(client_engine.closed.wait, 1)
            await asyncio.sleep(0)
            return asyncio.all_tasks() - {asyncio.current_task()}

        before = len(api_threads())
        left = asyncio.run(many())
        client_engine.script = answering("still here")

        assert left == set()
        assert len(api_threads()) - before <= 5
        assert post_chat(client, ASK).status == 200


class TestCapacity:
    def test_more_than_the_engine_has_places_are_refused_with_a_retry_time(self):
        """One slot and no queue: while one is on its way there, the next hears when to come."""
        engine = ScriptedEngine(silent_before(answering("x")), queue_max=0, worker={"slots": 1})
        client = client_of(engine)

        async def crowd() -> tuple[Reply, Reply]:
            inside = asyncio.create_task(client.exchange("POST", PATH, **chat_body(ASK)))
            await asyncio.to_thread(engine.entered.acquire, timeout=5)
            refused = await client.exchange("POST", PATH, **chat_body(STREAM))
            engine.hold.set()
            return refused, await inside

        refused, inside = asyncio.run(crowd())

        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        assert (refused.headers["retry-after"], refused.error["retry_after_s"]) == ("3", 3)
        assert inside.status == 200

    def test_many_answers_at_once_do_not_mix(self):
        """Each client gets its own text."""

        def echo(call: Call):
            return answering(*str(call.text))(call)

        client = client_of(ScriptedEngine(echo))
        questions = [f"question {number}" for number in range(15)]

        async def ask_all() -> list:
            bodies = [
                chat_body({**ASK, "messages": [{"role": "user", "content": question}]})
                for question in questions
            ]
            return await asyncio.gather(*(client.exchange("POST", PATH, **b) for b in bodies))

        replies = asyncio.run(ask_all())

        texts = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
        assert texts == questions


class TestSlowReaders:
    def test_answer_that_is_not_taken_is_ended_by_the_engine(self, make_fake_engine):
        """What waits stays small, the slot comes free, and the reader is told at last."""
        engine = make_fake_engine(stream={"buffer_bytes": 1024}, deadline={"reader_s": 0.2})
        question = [{"role": "user", "content": "tokens=4000 delay=0.0005"}]
        body = chat_body({**STREAM, "messages": question, "max_tokens": 4000})

        async def ask() -> Reply:
            reads = asyncio.Event()
            asking = asyncio.create_task(
                client_of(engine).exchange("POST", PATH, **body, reads=reads)
            )
            await asyncio.to_thread(wait_for, lambda: running(engine) == 1)
            assert await asyncio.to_thread(wait_for, lambda: running(engine) == 0)
            reads.set()
            return await asking

        *_, last = asyncio.run(ask()).chunks()

        assert last["error"]["code"] == "slow_reader"
        assert last["orion"]["partial"] is True

    def test_slow_client_gets_everything(self, make_fake_engine):
        """The engine waits for one who takes it bit by bit."""
        engine = make_fake_engine(stream={"buffer_bytes": 2048})
        question = [{"role": "user", "content": "tokens=600"}]
        body = chat_body({**STREAM, "messages": question, "max_tokens": 600})

        async def ask() -> Reply:
            reads = asyncio.Event()
            asking = asyncio.create_task(
                client_of(engine).exchange("POST", PATH, **body, reads=reads)
            )
            while not asking.done():
                reads.set()
                await asyncio.sleep(0)
                reads.clear()
                await asyncio.sleep(0.01)
            return await asking

        chunks = asyncio.run(ask()).chunks()

        pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]]
        assert "".join(pieces) == "".join(f"t{index} " for index in range(600))

"""The door of the chat path: who passes, who is refused unread, and whose share it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from orion.api.bridge import EventBridge
from orion.api.client import client_of
from orion.api.door import CHAT_PATH, ChatDoor, Looks
from orion.errors import OrionError, OverloadedError, TooManyRequestsError
from orion.types import new_request_id
from tests.fakes.asgi import ASK, chat_body, post_chat
from tests.fakes.asgi import client_of as asgi_client_of
from tests.fakes.engine import Gated, ScriptedEngine, answering

FULL = OverloadedError(queue_max=16, retry_after_s=4.2)
BUSY = TooManyRequestsError(held=9, retry_after_s=4.2)
KNOWN = {**ASK, "session": "s", "temperature": 0}
LENGTH = {"content-length": "50"}
PEER = {"client": ("10.0.0.7", 4711)}


def full_engine(script: Any = None) -> ScriptedEngine:
    engine = ScriptedEngine(script)
    engine.full = lambda client: FULL
    return engine


class TestClient:
    @pytest.mark.parametrize(
        ("body", "client"),
        [
            ({"session": "s", "user": "u", "safety_identifier": "x"}, "session:s"),
            ({"user": "u", "safety_identifier": "x"}, "user:u"),
            ({"safety_identifier": "x"}, "safety:x"),
            ({}, "address:10.0.0.7"),
            ({"session": None, "user": ""}, "address:10.0.0.7"),
            ({"session": 3, "user": ["u"]}, "address:10.0.0.7"),
            ({"user": "x" * 500}, "user:" + "x" * 128),
        ],
    )
    def test_it_is_the_most_particular_name_there_is(self, body, client):
        """And its kind goes before it, so that no name passes for another."""
        assert client_of(body, PEER) == client

    def test_a_connection_without_an_address_is_nobody_in_particular(self):
        """A Unix socket, say."""
        assert client_of({}, {"client": None}) == ""

    def test_it_reaches_the_engine(self):
        """With the request, so that the share is counted where the places are."""
        engine = ScriptedEngine()

        post_chat(asgi_client_of(engine), {**ASK, "user": "ada"})
        post_chat(asgi_client_of(engine), ASK)

        clients = [call.options["client"] for call in engine.calls]
        assert clients == ["user:ada", "address:127.0.0.1"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("error", "status", "kind"),
        [
            (FULL, 503, "server_error"),
            (BUSY, 429, "rate_limit_error"),
        ],
    )
    def test_a_full_engine_is_told_at_once_with_the_time_to_come_back(self, error, status, kind):
        """The protocol's shape, whole seconds in the header, and the engine was not asked."""
        engine = ScriptedEngine()
        engine.full = lambda client: error

        reply = post_chat(asgi_client_of(engine), ASK)

        assert (reply.status, reply.error["type"]) == (status, kind)
        assert (reply.error["code"], reply.error["retry_after_s"]) == (error.code, 5)
        assert "in 5 s" in reply.error["message"]
        assert (reply.headers["retry-after"], reply.headers["x-should-retry"]) == ("5", "true")
        assert reply.headers["content-length"] == str(len(reply.body))
        assert len(reply.headers["x-request-id"]) == len(new_request_id())
        assert (engine.calls, engine.metrics.codes) == ([], [error.code])

    def test_only_the_client_that_has_its_share_is_refused(self):
        """Whoever else asks gets an answer."""
        engine = ScriptedEngine()
        refused: dict[str, OrionError] = {"session:hog": FULL}
        engine.full = refused.get
        client = asgi_client_of(engine)

        assert post_chat(client, {**ASK, "session": "hog"}).status == 503
        assert post_chat(client, {**ASK, "session": "other"}).status == 200
        assert post_chat(client, ASK).status == 200

    def test_other_paths_are_open(self):
        """The door is the chat path's."""
        client = asgi_client_of(full_engine())

        assert client("GET", "/livez").status == 200
        assert client("GET", "/v1/models").status == 200
        assert client("GET", CHAT_PATH).status == 405

    @pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"[" * 100_000, b'"x"', b"\xff"])
    def test_what_is_no_request_is_told_so(self, body):
        """A mistake does not go away by waiting."""
        headers = {"content-type": "application/json", "content-length": str(len(body))}

        reply = asgi_client_of(full_engine())("POST", CHAT_PATH, body=body, headers=headers)

        assert (reply.status, reply.error["code"]) == (400, "invalid_query")

    def test_a_body_in_parts_goes_the_long_way(self):
        """It is read as ever; the engine refuses it itself."""
        engine = full_engine(answering("x"))
        data = json.dumps(ASK).encode()

        reply = asgi_client_of(engine)("POST", CHAT_PATH, body=[data[:5], data[5:]], headers=LENGTH)

        assert reply.status == 200
        assert len(engine.calls) == 1

    def test_a_client_that_leaves_within_its_body_is_let_go(self):
        """Nothing is asked, nothing is sent."""
        engine = full_engine()

        reply = asgi_client_of(engine)("POST", CHAT_PATH, body=b"{", cut_body=True, headers=LENGTH)

        assert (reply.status, engine.calls) == (0, [])


class TestKnownAnswers:
    def test_a_request_equal_to_one_inside_passes_a_full_engine(self):
        """It will hear that one's answer and needs no place."""
        gated = Gated("same")
        engine = ScriptedEngine(gated)
        client = asgi_client_of(engine)

        async def ask_twice() -> list[int]:
            first = asyncio.create_task(client.exchange("POST", CHAT_PATH, **chat_body(KNOWN)))
            await asyncio.to_thread(engine.entered.acquire, timeout=5)
            engine.full = lambda client: FULL
            second = asyncio.create_task(client.exchange("POST", CHAT_PATH, **chat_body(KNOWN)))
            await asyncio.to_thread(engine.entered.acquire, timeout=5)
            gated.release(4)
            return [(await first).status, (await second).status]

        assert asyncio.run(ask_twice()) == [200, 200]

    def test_of_the_others_a_few_a_second_are_looked_at(self):
        """Their answers may be known; the rest is refused as everybody is."""
        engine = full_engine(answering("known"))
        client = asgi_client_of(engine)

        async def crowd() -> list[int]:
            bodies = [chat_body({**KNOWN, "seed": seed}) for seed in range(40)]
            replies = [client.exchange("POST", CHAT_PATH, **body) for body in bodies]
            return [reply.status for reply in await asyncio.gather(*replies)]

        statuses = asyncio.run(crowd())

        assert statuses.count(200) == len(engine.calls) >= 16
        assert statuses.count(503) == 40 - len(engine.calls) > 0

    def test_what_is_answered_anew_each_time_is_not_looked_at(self):
        """A temperature without a seed has no known answer."""
        engine = full_engine()

        assert post_chat(asgi_client_of(engine), {**KNOWN, "temperature": 0.7}).status == 503
        assert engine.calls == []


class TestLooks:
    def test_they_come_back_with_time_up_to_a_reserve(self):
        """A rate, and a few at once."""
        moments = iter([0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 100.0, 100.0, 100.0])
        looks = Looks(per_s=2, at_once=2, now=lambda: next(moments))

        assert [looks.take() for _ in range(3)] == [True, True, False]
        assert [looks.take() for _ in range(2)] == [True, False]
        assert [looks.take() for _ in range(3)] == [True, True, False]


class TestOtherProtocols:
    def test_start_up_and_web_sockets_pass_as_they_come(self):
        """The door speaks HTTP."""
        seen: list[str] = []

        async def application(scope: Any, _receive: Any, _send: Any) -> None:
            seen.append(scope["type"])

        bridge = EventBridge(full_engine(), room=1, spare=0)
        asyncio.run(ChatDoor(application, bridge=bridge)({"type": "lifespan"}, None, None))

        assert seen == ["lifespan"]

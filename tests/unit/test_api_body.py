"""Reading a request body: every bad one is refused with a reason, the big ones early."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from orion.api import HttpApi
from orion.api import body as body_module
from orion.api.body import MAX_DEPTH, parse_object, read_object
from orion.errors import InvalidQueryError, TooLargeError
from tests.fakes.asgi import ASK, AsgiClient, client_of, post_chat
from tests.fakes.engine import ScriptedEngine

LIMIT = 1024


def read(*parts: bytes, limit: int = LIMIT, **headers: str) -> dict[str, Any]:
    """`read_object` over these parts, with underscores in header names as dashes."""
    queue = list(parts)

    async def receive() -> dict[str, Any]:
        if not queue:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": queue.pop(0), "more_body": bool(queue)}

    named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return asyncio.run(read_object(receive, named, limit_bytes=limit))


class TestParseObject:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "is empty"),
            (b" \n\t ", "is empty"),
            (b"{", "line 1, column 2"),
            (b'{"a": 1,}', "is no JSON"),
            (b"not json", "line 1, column 1"),
            (b"[]", "must be a JSON object"),
            (b'"text"', "must be a JSON object"),
            (b"null", "must be a JSON object"),
            (b"\xff\xfe{}", "is no UTF-8"),
            (b'{"a": "\xed\xa0\x80"}', "is no UTF-8"),
            (b'{"a": NaN}', "NaN is no JSON number"),
            (b'{"a": -Infinity}', "-Infinity is no JSON number"),
            (b'{"a": 1e999}', "a number is too large"),
            (b'{"a": ' + b"9" * 5000 + b"}", "is no usable JSON"),
            (b'{"a": "\\ud800"}', "half a surrogate pair (\\ud800)"),
            (b'{"\\udfff": 1}', "half a surrogate pair"),
            (b'{"a": ["x", {"b": "\\u0000"}]}', "a null character"),
            (b'{"a": "\x00"}', "is no JSON"),
        ],
    )
    def test_bad_body_is_refused_with_its_reason(self, body, reason):
        """No body is answered with a guess: the caller learns what is wrong."""
        with pytest.raises(InvalidQueryError) as refusal:
            parse_object(body)

        assert refusal.value.facts["field"] == "body"
        assert reason in refusal.value.public_message

    def test_depth_is_bounded_below_and_at_the_limit(self):
        """Sixteen levels pass, seventeen do not."""
        deepest = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH

        assert parse_object(deepest)
        with pytest.raises(InvalidQueryError, match="deeper than 16"):
            parse_object(b'{"a":' + deepest + b"}")

    def test_nesting_beyond_the_interpreter_is_refused_too(self):
        """A bomb of brackets is an error of the caller, not of the server."""
        with pytest.raises(InvalidQueryError, match="deeper than 16"):
            parse_object(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}")

    def test_proper_text_passes_whatever_its_script(self):
        """Emoji written as a surrogate pair, a byte order mark and doubled keys are fine."""
        found = parse_object(b'\xef\xbb\xbf{"a": 1, "a": "\\ud83d\\ude00 \xe0\xa4\xb9"}')

        assert found == {"a": "\U0001f600 ह"}


class TestReadObject:
    def test_body_in_parts_is_put_together(self):
        """How the network cuts a body does not matter."""
        assert read(b'{"a"', b": ", b"1}") == {"a": 1}

    def test_big_body_is_parsed_off_the_loop(self, monkeypatch):
        """A body over the threshold takes the thread and gives the same."""
        monkeypatch.setattr(body_module, "OFF_LOOP_BYTES", 4)

        assert read(b'{"a": 1}') == {"a": 1}

    def test_announced_excess_is_refused_before_reading(self):
        """`Content-Length` above the limit is enough."""
        with pytest.raises(TooLargeError) as refusal:
            read(content_length="1025")

        assert refusal.value.facts["limit"] == LIMIT

    @pytest.mark.parametrize("length", ["10", "abc", "-5", "²"])
    def test_excess_is_found_while_reading_whatever_was_announced(self, length):
        """A wrong `Content-Length` opens no door."""
        parts = [b"x" * 600] * 100

        with pytest.raises(TooLargeError) as refusal:
            read(*parts, content_length=length)

        assert refusal.value.facts["size"] == 1200

    def test_announced_excess_of_many_digits_is_refused(self):
        """A length no integer type holds is still only too large."""
        with pytest.raises(TooLargeError):
            read(content_length="9" * 400)

    def test_client_that_leaves_within_its_body_is_let_go(self):
        """No answer is made for nobody."""
        with pytest.raises(ClientDisconnect):
            read()

    def test_compressed_body_is_refused(self):
        """The limit counts bytes as sent; a bomb does not get to unfold."""
        with pytest.raises(InvalidQueryError, match="Content-Encoding"):
            read(b"{}", content_encoding="gzip")

    @pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
    def test_any_content_type_is_json_outside_a_browser(self, media_type):
        """`curl -d` without a header works."""
        assert read(b'{"a": 1}', content_type=media_type) == {"a": 1}

    @pytest.mark.parametrize("media_type", ["", "text/plain", "multipart/form-data; boundary=x"])
    def test_page_must_say_json(self, media_type):
        """A foreign page cannot post without the browser asking first."""
        with pytest.raises(InvalidQueryError, match="must be application/json"):
            read(b"{}", content_type=media_type, origin="https://elsewhere.example")

    def test_page_that_says_json_is_served(self):
        """The check is about the type, not about pages."""
        found = read(b"{}", content_type="application/JSON; charset=utf-8", origin="http://a.b")

        assert found == {}

    def test_body_that_never_ends_is_given_up(self, monkeypatch):
        """A slow sender meets a deadline, with a status."""
        monkeypatch.setattr(body_module, "READ_LIMIT_S", 0.01)
        client = client_of(ScriptedEngine())

        reply = client(
            "POST", "/v1/chat/completions", body=[b"{"], headers={"content-length": "9"}, hang=True
        )

        assert (reply.status, reply.error["code"]) == (504, "deadline")


class TestRefusalOverHttp:
    def test_too_large_is_413_and_the_rest_is_read_away(self):
        """The refusal goes out at once; the rest is read so that it arrives."""
        engine = ScriptedEngine(limits={"body_bytes": LIMIT})
        client = AsgiClient(Starlette(routes=HttpApi(engine).routes()))
        heads: list[int] = []

        reply = client(
            "POST",
            "/v1/chat/completions",
            body=[b"x" * 600] * 10,
            headers={"content-length": "6000"},
            on_part=lambda part: heads.append(client.parts_read),
        )

        assert (reply.status, reply.error["code"], reply.complete) == (413, "too_large", True)
        assert heads == [0, 10]

    def test_every_bad_body_has_the_shape_and_the_header(self):
        """Malformed JSON at `/v1` is OpenAI's 400."""
        client = client_of(ScriptedEngine())

        reply = client("POST", "/v1/chat/completions", body=b"{bad")

        assert reply.status == 400
        assert reply.error["code"] == "invalid_query"
        assert reply.error["type"] == "invalid_request_error"
        assert reply.error["param"] == "body"
        assert reply.headers["x-request-id"]

    def test_server_answers_after_a_bad_body(self):
        """A refused request leaves nothing behind."""
        client = client_of(ScriptedEngine())

        client("POST", "/v1/chat/completions", body=b"\x00" * 100)

        assert post_chat(client, ASK).status == 200

    def test_leaving_within_the_body_starts_nothing(self):
        """No engine call is made from half a body."""
        engine = ScriptedEngine()
        half = json.dumps(ASK).encode()[:10]

        reply = client_of(engine)("POST", "/v1/chat/completions", body=half, cut_body=True)

        assert (reply.status, engine.calls) == (0, [])

"""`/v1/chat/completions` over a scripted engine: answers, streams, errors, leaving."""

from __future__ import annotations

import asyncio

import pytest

from orion.api.door import CHAT_PATH
from orion.errors import (
    AgentLoadError,
    CircuitOpenError,
    ContextTooLongError,
    DeadlineExceededError,
    EmptyAnswerError,
    GenerationError,
    InvalidQueryError,
    OverloadedError,
    QuarantinedError,
    ShuttingDownError,
    SlowReaderError,
    TooLargeError,
    UnauthorizedError,
    UnknownAgentError,
    WeightsMissingError,
    WorkerDiedError,
)
from orion.types import FinishReason
from tests.fakes.asgi import ASK, Reply, chat_body, client_of, post_chat
from tests.fakes.engine import (
    MODEL,
    Gated,
    ScriptedEngine,
    answering,
    failing,
    falling_back,
    opening,
    raising,
)

STREAM = {**ASK, "stream": True}


class TestWholeAnswer:
    def test_answer_has_the_protocols_shape(self):
        """Text, reason, usage, and how it came about."""
        reply = post_chat(client_of(ScriptedEngine()), ASK)

        body = reply.json()
        choice = body["choices"][0]
        assert reply.status == 200
        assert body["object"] == "chat.completion"
        assert body["model"] == MODEL
        assert choice["message"] == {
            "role": "assistant",
            "content": "Hello, world",
            "refusal": None,
        }
        assert choice["finish_reason"] == "stop"
        assert body["usage"]["total_tokens"] == 12
        assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
        assert body["orion"]["agent"] == "code-agent"
        assert body["orion"]["states"][-1] == "success"
        assert "text" not in body["orion"]

    def test_request_id_is_the_engines(self):
        """The header, the id of the answer and the engine's id are one."""
        engine = ScriptedEngine()

        reply = post_chat(client_of(engine), ASK)

        request_id = reply.headers["x-request-id"]
        assert engine.calls[0].request_id == request_id
        assert reply.json()["id"] == f"chatcmpl-{request_id}"
        assert reply.json()["orion"]["request_id"] == request_id

    def test_length_is_told(self):
        """An answer that was cut says so."""
        engine = ScriptedEngine(answering("a", finish=FinishReason.LENGTH))

        assert post_chat(client_of(engine), ASK).json()["choices"][0]["finish_reason"] == "length"

    def test_text_comes_back_as_the_model_wrote_it(self):
        """Nothing is lost between the engine and the JSON."""
        text = 'é "quoted" </script> \u2028 \U0001f600 \\ \n'

        reply = post_chat(client_of(ScriptedEngine(answering(text))), ASK)

        assert reply.json()["choices"][0]["message"]["content"] == text

    def test_fallback_is_told(self):
        """Who answered, with what, and in whose place."""
        engine = ScriptedEngine(falling_back("code-agent", "creative-agent", "A poem."))

        answer = post_chat(client_of(engine), ASK).json()

        assert answer["model"] == "other-model"
        assert answer["orion"]["agent"] == "creative-agent"
        assert answer["orion"]["fallback_from"] == "code-agent"

    def test_answer_cancelled_elsewhere_is_an_error(self):
        """Half an answer is not sold as a whole one."""
        engine = ScriptedEngine(answering("half", finish=FinishReason.CANCELLED))

        reply = post_chat(client_of(engine), ASK)

        assert (reply.status, reply.error["code"]) == (499, "cancelled")


class TestStreamedAnswer:
    def test_pieces_make_the_answer(self):
        """Role first, then text, then the reason, then `[DONE]`."""
        gated = Gated("Hel", "lo", " you")
        client = client_of(ScriptedEngine(gated))
        gated.release()

        reply = post_chat(client, STREAM, on_part=lambda _: gated.release())

        chunks = reply.chunks()
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert deltas[0] == {"role": "assistant", "content": "Hel"}
        assert "".join(delta.get("content", "") for delta in deltas) == "Hello you"
        assert all("role" not in delta for delta in deltas[1:])
        assert chunks[-1] == "[DONE]"
        assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
        assert chunks[-2]["orion"]["runtime"] == "llamacpp"
        assert {chunk["model"] for chunk in chunks[:-1]} == {MODEL}
        assert len({chunk["id"] for chunk in chunks[:-1]}) == 1
        assert reply.complete

    def test_burst_travels_as_one_piece(self):
        """What piled up while a write was under way is one chunk."""
        engine = ScriptedEngine(Gated("a", "b", "c", "d"))
        engine.script.release(5)

        async def ask() -> Reply:
            reads = asyncio.Event()
            body = chat_body(STREAM)
            asking = asyncio.create_task(
                client_of(engine).exchange("POST", CHAT_PATH, **body, reads=reads)
            )
            await asyncio.to_thread(engine.closed.wait, 5)
            reads.set()
            return await asking

        reply = asyncio.run(ask())

        assert len(reply.chunks()) <= 4

    def test_usage_comes_last_when_asked_for(self):
        """Null in every chunk before, as the protocol has it."""
        body = {**STREAM, "stream_options": {"include_usage": True}}

        *before, last, done = post_chat(client_of(ScriptedEngine()), body).chunks()

        assert [chunk["usage"] for chunk in before] == [None] * len(before)
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 5
        assert done == "[DONE]"

    def test_usage_is_left_out_otherwise(self):
        """A client that did not ask is not surprised."""
        chunks = post_chat(client_of(ScriptedEngine()), STREAM).chunks()

        assert all("usage" not in chunk for chunk in chunks[:-1])

    def test_empty_answer_is_a_stream_with_an_end(self):
        """A model that says nothing said nothing, properly."""
        reply = post_chat(client_of(ScriptedEngine(answering())), STREAM)

        assert reply.status == 200
        assert [chunk["choices"][0]["finish_reason"] for chunk in reply.chunks()[:-1]] == [
            None,
            "stop",
        ]

    def test_stream_cancelled_elsewhere_just_ends(self):
        """The text stays, no reason is claimed, `orion` says what happened."""
        engine = ScriptedEngine(answering("half", finish=FinishReason.CANCELLED))

        *_, last, done = post_chat(client_of(engine), STREAM).chunks()

        assert last["choices"][0]["finish_reason"] is None
        assert last["orion"]["finish_reason"] == "cancelled"
        assert done == "[DONE]"

    def test_after_a_fallback_every_chunk_names_who_answers(self):
        """Nothing was sent before; `orion` says who was to answer."""
        engine = ScriptedEngine(falling_back("code-agent", "creative-agent", "A poem."))

        *chunks, done = post_chat(client_of(engine), STREAM).chunks()

        assert {chunk["model"] for chunk in chunks} == {"other-model"}
        assert chunks[-1]["orion"]["agent"] == "creative-agent"
        assert chunks[-1]["orion"]["fallback_from"] == "code-agent"
        assert chunks[-1]["orion"]["route"]["agent"] == "code-agent"
        assert "fallback" in chunks[-1]["orion"]["states"]
        assert done == "[DONE]"

    def test_failure_after_text_leaves_the_part_beside_the_error(self):
        """Who does not stream loses nothing either."""
        engine = ScriptedEngine(failing(WorkerDiedError(model="m", exit_code=-9), after="half"))

        reply = post_chat(client_of(engine), ASK)

        assert (reply.status, reply.error["code"]) == (500, "worker_died")
        assert reply.json()["orion"] == {"partial": True, "text": "half"}

    def test_failure_after_text_is_an_error_chunk(self):
        """What was delivered stays; the error says the rest will not come."""
        engine = ScriptedEngine(failing(WorkerDiedError(model="m", exit_code=-9), after="half"))

        reply = post_chat(client_of(engine), STREAM)

        first, last = reply.chunks()
        assert reply.status == 200
        assert reply.complete
        assert first["choices"][0]["delta"]["content"] == "half"
        assert last["error"]["code"] == "worker_died"
        assert last["error"]["type"] == "server_error"
        assert last["orion"]["partial"] is True


class TestErrors:
    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        ("error", "status", "kind", "param"),
        [
            (
                InvalidQueryError(field="message", reason="is empty"),
                400,
                "invalid_request_error",
                "messages[0].content",
            ),
            (
                InvalidQueryError(field="temperature", reason="is 99"),
                400,
                "invalid_request_error",
                "temperature",
            ),
            (UnknownAgentError(name="x", known="y"), 404, "invalid_request_error", "model"),
            (
                ContextTooLongError(prompt_tokens=9, context_tokens=8),
                400,
                "invalid_request_error",
                "messages",
            ),
            (
                TooLargeError(field="history", size=9, limit=8, unit="messages"),
                413,
                "invalid_request_error",
                "messages",
            ),
            (UnauthorizedError(), 401, "authentication_error", None),
            (OverloadedError(queue_max=2, retry_after_s=2.4), 503, "server_error", None),
            (ShuttingDownError(), 503, "server_error", None),
            (DeadlineExceededError(phase="prefill", limit_s=9), 504, "server_error", None),
            (AgentLoadError(model="m", reason="r"), 503, "server_error", None),
            (WeightsMissingError(model="m", file="f", hint="h"), 500, "server_error", None),
            (GenerationError(reason="r"), 500, "server_error", None),
            (EmptyAnswerError(model="m"), 500, "server_error", None),
            (QuarantinedError(retry_after_s=9), 422, "invalid_request_error", None),
            (SlowReaderError(), 408, "invalid_request_error", None),
            (
                CircuitOpenError(agent="a", cause="load_failed", retry_after_s=9),
                503,
                "server_error",
                None,
            ),
        ],
    )
    def test_error_before_text_is_a_real_status(self, error, status, kind, param, streamed):
        """Streaming or not, the client sees the status, the code and the parameter."""
        engine = ScriptedEngine(failing(error))

        reply = post_chat(client_of(engine), {**ASK, "stream": streamed})

        assert reply.status == status
        assert set(reply.json()) == {"error"}
        waits = {"retry_after_s"} if "retry-after" in reply.headers else set()
        assert set(reply.error) == {"message", "type", "param", "code", *waits}
        assert (reply.error["type"], reply.error["param"]) == (kind, param)
        assert reply.error["code"] == error.code
        assert reply.headers["x-should-retry"] == ("true" if error.retryable else "false")
        assert reply.headers["x-request-id"]

    @pytest.mark.parametrize(
        ("field", "named"),
        [
            ("message", "messages[4].content"),
            ("history[1].content", "messages[3].content"),
            ("history[0]", "messages[2]"),
            ("history", "messages"),
            ("system_prompt", "messages[0].content"),
            ("agent", "model"),
            ("max_tokens", "max_completion_tokens"),
            ("top_p", "top_p"),
        ],
    )
    def test_engines_field_is_named_as_the_client_sent_it(self, field, named):
        """The caller never reads a name they did not send."""
        engine = ScriptedEngine(failing(InvalidQueryError(field=field, reason="is odd")))
        roles = ("system", "developer", "user", "assistant", "user")
        messages = [{"role": role, "content": "x"} for role in roles]

        reply = post_chat(client_of(engine), {"messages": messages, "max_completion_tokens": 4})

        assert reply.error["param"] == named
        assert reply.error["message"] == f"`{named}` is odd."

    @pytest.mark.parametrize(
        ("error", "header"),
        [
            (OverloadedError(queue_max=2, retry_after_s=2.4), "3"),
            (OverloadedError(queue_max=2, retry_after_s=0.1), "1"),
            (ShuttingDownError(), "10"),
            (CircuitOpenError(agent="a", cause="worker_died", retry_after_s=12.1), "13"),
            (QuarantinedError(retry_after_s=3600), "3600"),
            (AgentLoadError(model="m", reason="r"), "1"),
            (WeightsMissingError(model="m", file="f", hint="h"), None),
            (GenerationError(reason="r"), None),
        ],
    )
    def test_retry_after_is_whole_seconds_where_waiting_helps(self, error, header):
        """Only a refusal that will pass by itself says when."""
        reply = post_chat(client_of(ScriptedEngine(failing(error))), ASK)

        assert reply.headers.get("retry-after") == header

    @pytest.mark.parametrize("streamed", [False, True])
    def test_bug_in_the_engine_shows_nothing_of_itself(self, streamed):
        """A plain 500: no exception text, no trace."""
        engine = ScriptedEngine(raising(ValueError("secret /path")))

        reply = post_chat(client_of(engine), {**ASK, "stream": streamed})

        assert (reply.status, reply.error["code"]) == (500, "orion")
        assert b"secret" not in reply.body
        assert b"Traceback" not in reply.body

    def test_engine_that_just_stops_is_an_error(self):
        """A stream without a last event does not hang the client."""
        reply = post_chat(client_of(ScriptedEngine(opening)), ASK)

        assert (reply.status, reply.error["code"]) == (500, "generation_failed")

    def test_refused_parameter_never_reaches_the_engine(self):
        """Checked at the door."""
        engine = ScriptedEngine()

        reply = post_chat(client_of(engine), {**ASK, "n": 2})

        assert (reply.status, reply.error["param"], engine.calls) == (400, "n", [])

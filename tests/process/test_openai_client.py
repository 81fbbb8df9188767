"""The `openai` client, unchanged, against a real server on the loopback interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from orion.errors import (
    AgentLoadError,
    GenerationError,
    OverloadedError,
    UnauthorizedError,
    UnknownAgentError,
    WorkerDiedError,
)
from orion.registry import AGENT_IDS
from orion.types import Event
from tests.fakes.asgi import ASK
from tests.fakes.engine import MODEL, Call, Endless, ScriptedEngine, answering, failing
from tests.fakes.http_server import raw, served

QUESTION = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(limits={"body_bytes": 4096})


@pytest.fixture
def url(engine) -> Iterator[str]:
    with served(engine) as address:
        yield address


@pytest.fixture
def client(url) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


class TestCompletions:
    def test_whole_answer(self, client):
        """The client parses it, `orion` included."""
        done = client.chat.completions.create(model="auto", messages=QUESTION)

        assert done.choices[0].message.content == "Hello, world"
        assert done.choices[0].finish_reason == "stop"
        assert done.usage.total_tokens == 12
        assert done.model == MODEL
        assert done.model_extra["orion"]["agent"] == "code-agent"
        assert done._request_id == done.model_extra["orion"]["request_id"]

    def test_streamed_answer_with_usage(self, client):
        """Chunks make the text; the last one holds the usage."""
        chunks = list(
            client.chat.completions.create(
                model="code-agent",
                messages=QUESTION,
                stream=True,
                stream_options={"include_usage": True},
            )
        )

        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "Hello, world"
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert chunks[-1].usage.completion_tokens == 5
        assert chunks[-2].model_extra["orion"]["runtime"] == "llamacpp"

    def test_every_supported_option_reaches_the_engine(self, client, engine):
        """Extensions travel in `extra_body`."""
        client.chat.completions.create(
            model="code-agent",
            messages=[{"role": "developer", "content": "Be brief."}, *QUESTION],
            max_completion_tokens=9,
            temperature=0.1,
            top_p=0.8,
            seed=3,
            stop=["END"],
            user="someone",
            extra_body={"top_k": 4, "min_p": 0.2, "repetition_penalty": 1.3, "session": "s"},
        )

        options = engine.calls[0].options
        assert options["system_prompt"] == "Be brief."
        assert (options["max_tokens"], options["temperature"], options["top_p"]) == (9, 0.1, 0.8)
        assert (options["seed"], options["stop"], options["top_k"]) == (3, ["END"], 4)
        assert (options["min_p"], options["repetition_penalty"]) == (0.2, 1.3)
        assert (options["session"], options["agent"]) == ("s", "code-agent")

    def test_long_text_arrives_whole(self, client, engine):
        """Also when the client is slower than the engine."""
        pieces = [f"é{number} " for number in range(5000)]
        engine.script = answering(*pieces)

        stream = client.chat.completions.create(model="auto", messages=QUESTION, stream=True)

        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        assert text == "".join(pieces)

    def test_many_clients_at_once(self, client, engine):
        """Each gets its own answer on its own connection."""
        engine.script = lambda call: answering(*call.text)(call)

        def ask(number: int) -> str | None:
            question = [{"role": "user", "content": f"question {number}"}]
            done = client.chat.completions.create(model="auto", messages=question)
            return done.choices[0].message.content

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(40)))

        assert answers == [f"question {number}" for number in range(40)]


class TestModels:
    def test_list_and_retrieve(self, client):
        """`auto`, agents and models."""
        listed = {model.id: model for model in client.models.list()}

        assert set(listed) == {"auto", *AGENT_IDS, MODEL, "hub-model"}
        assert client.models.retrieve(MODEL).owned_by == "tiny-wheel"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nope")


class TestErrors:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("error", "raised"),
        [
            (UnknownAgentError(name="x", known="y"), openai.NotFoundError),
            (UnauthorizedError(), openai.AuthenticationError),
            (OverloadedError(queue_max=1), openai.InternalServerError),
            (AgentLoadError(model="m", reason="r"), openai.InternalServerError),
            (GenerationError(reason="r"), openai.InternalServerError),
        ],
    )
    def test_error_is_the_clients_exception(self, client, engine, error, raised, stream):
        """Status, code, request id and body reach the caller."""
        engine.script = failing(error)

        with pytest.raises(raised) as caught:
            client.chat.completions.create(model="auto", messages=QUESTION, stream=stream)

        assert caught.value.status_code == error.status
        assert caught.value.code == error.code
        assert caught.value.request_id

    @pytest.mark.parametrize(
        ("option", "param"),
        [
            ({"n": 3}, "n"),
            ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
            ({"logprobs": True}, "logprobs"),
            ({"presence_penalty": 1.0}, "presence_penalty"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
        ],
    )
    def test_unsupported_option_is_a_bad_request(self, client, option, param):
        """The parameter is named where the client looks for it."""
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{**ASK, **option})

        assert caught.value.param == param

    def test_body_over_the_limit_is_413(self, client):
        """However large, the client reads the answer."""
        huge = [{"role": "user", "content": "x" * 3_000_000}]

        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="auto", messages=huge)

        assert (caught.value.status_code, caught.value.code) == (413, "too_large")

    def test_overload_tells_when_to_come_back_and_the_client_does(self, url, engine):
        """The client's own retry honours the header and succeeds."""
        first = failing(OverloadedError(queue_max=1))
        scripts = [first, answering("later")]

        def one_after_the_other(call: Call) -> Iterator[Event]:
            return scripts.pop(0)(call)

        engine.script = one_after_the_other

        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=1) as client:
            done = client.chat.completions.create(model="auto", messages=QUESTION)

        assert done.choices[0].message.content == "later"

    def test_failure_within_the_text_raises_after_it(self, client, engine):
        """What came before stays with the caller."""
        engine.script = failing(WorkerDiedError(model="m", exit_code=-9), after="half")
        texts: list[str | None] = []
        stream = client.chat.completions.create(model="auto", messages=QUESTION, stream=True)

        with pytest.raises(openai.APIError, match="ended unexpectedly"):
            texts.extend(chunk.choices[0].delta.content for chunk in stream)

        assert texts == ["half"]


class TestConnection:
    def test_client_that_closes_its_stream_stops_the_engine(self, client, engine):
        """Half a second after the close the token counter stands."""
        endless = Endless()
        engine.script = endless

        stream = client.chat.completions.create(model="auto", messages=QUESTION, stream=True)
        next(iter(stream))
        stream.close()

        assert engine.closed.wait(0.5)

    def test_client_that_gives_up_waiting_stops_the_engine(self, url, engine):
        """A read timeout before the first text counts as leaving."""
        engine.script = Endless(silent=True)

        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
            pytest.raises(openai.APITimeoutError),
        ):
            client.chat.completions.create(model="auto", messages=QUESTION, timeout=0.3)

        assert engine.closed.wait(0.5)

    def test_connection_is_kept_for_the_next_question(self, url):
        """Streams end properly, so a connection serves many."""
        body = json.dumps({**ASK, "stream": True}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(
            body
        )

        answer = raw(
            url,
            head + b"\r\n" + body,
            b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        )

        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert b"data: [DONE]" in answer
        assert answer.endswith(b'{"status":"alive"}')

    @pytest.mark.parametrize(
        "head",
        [b"Content-Length: 99999999\r\nExpect: 100-continue", b"Transfer-Encoding: chunked"],
    )
    def test_oversize_is_refused_while_it_is_being_sent(self, url, head):
        """The answer comes before the body is through."""
        chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        body = chunk if b"chunked" in head else b""

        answer = raw(
            url, b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n", body
        )

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"code":"too_large"' in answer

    def test_liveness_is_answered_while_every_place_is_taken(self, url, engine):
        """Long answers and a probe do not meet."""
        engine.script = Endless()
        left = threading.Event()

        def ask() -> None:
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
                stream = client.chat.completions.create(
                    model="auto", messages=QUESTION, stream=True
                )
                left.wait(10)
                stream.close()

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(ask) for _ in range(8)]
            for _ in asking:
                assert engine.entered.acquire(timeout=10)
            answer = raw(url, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            left.set()
            for future in asking:
                future.result(10)

        assert b"200 OK" in answer

"""The `openai` client against real engines: one with a paced model, one with the embedded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import openai
import pytest

from tests.fakes.asgi import ASK
from tests.fakes.http_server import raw, served

QUESTION = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def real_client(real_engine) -> Iterator[openai.OpenAI]:
    """A client of the embedded model in a real worker process."""
    with (
        served(real_engine) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made,
    ):
        yield made


def counter_moved_for_s(engine: Any) -> float:
    """For how long from now the workers' token counter still moves, read as anyone can."""
    pause = threading.Event()
    begun_s = moved_s = time.monotonic()
    seen = None
    while (now_s := time.monotonic()) - moved_s < 0.8:
        count = sum(worker["num_tokens"] for worker in engine.stats()["workers"])
        if count != seen:
            seen, moved_s = count, now_s
        pause.wait(0.01)
    return moved_s - begun_s


def is_idle(engine: Any, *, within_s: float) -> bool:
    """Whether every slot of every worker comes free in that time."""
    pause = threading.Event()
    begun_s = time.monotonic()
    while any(worker["active"] for worker in engine.stats()["workers"]):
        if time.monotonic() - begun_s > within_s:
            return False
        pause.wait(0.01)
    return True


@pytest.mark.process
class TestRealModel:
    def test_whole_and_streamed_answers_are_the_same_text(self, real_client):
        """Greedy text does not depend on the way it travels."""
        asked = {"model": "auto", "messages": QUESTION, "temperature": 0, "max_tokens": 12}

        whole = real_client.chat.completions.create(**asked)
        chunks = list(
            real_client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        )

        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text
        assert text == whole.choices[0].message.content
        assert whole.usage.completion_tokens == chunks[-1].usage.completion_tokens <= 12
        assert whole.model == chunks[0].model == "smollm2-135m-instruct"
        assert whole.model_extra["orion"]["runtime"] == "llamacpp"

    def test_token_limit_and_stop_string_are_obeyed(self, real_client):
        """`length` for the one, `stop` for the other, and the stop string stays out."""
        asked = {"model": "auto", "messages": QUESTION, "temperature": 0}

        short = real_client.chat.completions.create(**asked, max_tokens=5)
        first_word = short.choices[0].message.content.split()[0]
        stopped = real_client.chat.completions.create(**asked, max_tokens=8, stop=first_word)

        assert short.choices[0].finish_reason == "length"
        assert short.usage.completion_tokens == 5
        assert stopped.choices[0].finish_reason == "stop"
        assert first_word not in stopped.choices[0].message.content

    def test_every_listed_agent_answers(self, real_client):
        """What `/v1/models` calls an agent can be asked."""
        agents = [
            m.id for m in real_client.models.list() if m.model_extra["orion"]["kind"] == "agent"
        ]

        for agent in agents:
            done = real_client.chat.completions.create(model=agent, messages=QUESTION, max_tokens=1)
            assert done.model_extra["orion"]["agent"] == agent

    def test_bad_values_are_refused_and_the_next_question_is_answered(self, real_client):
        """The engine's own checks arrive as the client's exception, by the sent name."""
        bad = {
            "temperature": {"temperature": 99},
            "max_tokens": {"max_tokens": -1},
            "max_completion_tokens": {"max_completion_tokens": 10**9},
            "seed": {"seed": "x"},
            "messages[0].content": {"messages": [{"role": "user", "content": "  "}]},
            "messages": {"messages": [{"role": "user", "content": "word " * 10_000}]},
        }

        for param, option in bad.items():
            with pytest.raises(openai.BadRequestError) as caught:
                real_client.chat.completions.create(**{**ASK, **option})
            assert caught.value.param == param
        done = real_client.chat.completions.create(model="auto", messages=QUESTION, max_tokens=1)

        assert done.usage.completion_tokens == 1

    def test_client_that_leaves_stops_the_workers_token_counter(self, real_client, real_engine):
        """Half a second later it stands; a slow machine may finish the token it is at."""
        asked = {"messages": [{"role": "user", "content": "Tell a very long story."}]}
        stream = real_client.chat.completions.create(
            **asked, model="auto", max_tokens=3000, temperature=1.5, stream=True
        )
        begun_s = time.monotonic()
        pieces = [chunk for _, chunk in zip(range(6), stream, strict=False)]
        piece_s = (time.monotonic() - begun_s) / len(pieces)

        stream.close()

        assert counter_moved_for_s(real_engine) <= 0.5 + 2 * piece_s
        assert is_idle(real_engine, within_s=30)


class TestEngine:
    """A real engine whose model keeps a steady pace, so that times can be promised."""

    @pytest.fixture
    def paced_url(self, fake_engine) -> Iterator[str]:
        fake_engine.load("conversation-agent")
        with served(fake_engine) as address:
            yield address

    @pytest.fixture
    def paced_client(self, paced_url) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{paced_url}/v1", api_key="none", max_retries=0) as made:
            yield made

    @pytest.mark.parametrize("stream", [True, False])
    def test_token_counter_stands_half_a_second_after_the_client_left(
        self, paced_client, fake_engine, stream
    ):
        """Whether it was reading a stream or waiting for the whole."""
        asked = {"messages": [{"role": "user", "content": "tokens=3000 delay=0.01"}]}
        asked |= {"model": "auto", "max_tokens": 4000}

        if stream:
            answer = paced_client.chat.completions.create(**asked, stream=True)
            next(iter(answer))
            answer.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                paced_client.chat.completions.create(**asked, timeout=0.3)

        assert counter_moved_for_s(fake_engine) <= 0.5
        assert fake_engine.stats()["requests"]["in_flight"] == 0

    def test_failure_of_the_model_before_text_has_a_status(self, paced_client):
        """Streaming or not: nothing was sent, so the truth fits the status line."""
        question = [{"role": "user", "content": "fail=0"}]

        for stream in (True, False):
            with pytest.raises(openai.InternalServerError) as caught:
                paced_client.chat.completions.create(model="auto", messages=question, stream=stream)
            assert caught.value.code == "generation_failed"

    def test_failure_of_the_model_after_text_ends_the_stream_with_it(self, paced_client):
        """The text that came is followed by the error, not by a clean end."""
        question = [{"role": "user", "content": "tokens=9 delay=0.05 fail=3"}]
        texts: list[str] = []

        stream = paced_client.chat.completions.create(model="auto", messages=question, stream=True)
        with pytest.raises(openai.APIError, match="failed while answering"):
            texts.extend(chunk.choices[0].delta.content or "" for chunk in stream)

        assert "".join(texts).split() == ["t0", "t1", "t2"]

    def test_full_queue_is_refused_with_a_time_to_come_back(self, make_fake_engine):
        """One slot, no queue: the next question gets 503, whoever asks it."""
        engine = make_fake_engine(queue_max=0, worker={"spares": 0, "slots": 1})
        engine.load("conversation-agent")
        long = [{"role": "user", "content": "tokens=3000 delay=0.01"}]

        with (
            served(engine) as url,
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        ):
            first = client.chat.completions.create(
                model="auto", messages=long, stream=True, max_tokens=4000
            )
            next(iter(first))
            with pytest.raises(openai.InternalServerError) as again:
                client.chat.completions.create(model="auto", messages=QUESTION)
            with pytest.raises(openai.InternalServerError) as late:
                client.chat.completions.create(model="auto", messages=QUESTION, user="another")
            first.close()

        for refused in (again.value, late.value):
            assert (refused.status_code, refused.code) == (503, "overloaded")
            assert int(refused.response.headers["retry-after"]) == refused.body["retry_after_s"]

    def test_request_cancelled_elsewhere_ends_its_stream(self, paced_client, fake_engine):
        """The page's cancel works on a stream of this API, by the id in its header."""
        question = [{"role": "user", "content": "tokens=3000 delay=0.01"}]
        stream = paced_client.chat.completions.create(
            model="auto", messages=question, stream=True, max_tokens=4000
        )
        request_id = stream.response.headers["x-request-id"]

        assert fake_engine.cancel(request_id)
        last = list(stream)[-1]

        assert last.choices[0].finish_reason is None
        assert last.model_extra["orion"]["finish_reason"] == "cancelled"

    def test_probes_and_metrics_tell_of_the_engine(self, paced_url, paced_client):
        """Ready after the load; the answer is counted."""
        paced_client.chat.completions.create(model="code-agent", messages=QUESTION)

        ready = raw(paced_url, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        metrics = raw(paced_url, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        assert ready.startswith(b"HTTP/1.1 200 OK")
        assert b'orion_requests_total{agent="code-agent",outcome="success"} 1.0' in metrics

    def test_shutdown_ends_streams_and_refuses_what_comes_after(self, paced_client, fake_engine):
        """A stream under way gets an end it can read; the next question a 503."""
        question = [{"role": "user", "content": "tokens=3000 delay=0.01"}]
        stream = paced_client.chat.completions.create(
            model="auto", messages=question, stream=True, max_tokens=4000
        )
        next(iter(stream))

        fake_engine.shutdown(grace_s=0.0)

        with suppress(openai.APIError):
            list(stream)
        with pytest.raises(openai.InternalServerError) as caught:
            paced_client.chat.completions.create(model="auto", messages=QUESTION)
        assert (caught.value.status_code, caught.value.code) == (503, "shutting_down")

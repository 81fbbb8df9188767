"""How a request ends otherwise: cancelled, closed, failed, out of time, shut down."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orion.errors import AgentLoadError, GenerationError, ShuttingDownError
from orion.types import (
    DeltaEvent,
    ErrorEvent,
    FinalEvent,
    FinishReason,
    ProgressEvent,
    RequestState,
    RouteEvent,
    StateEvent,
)

ENDLESS = "tokens=20000 delay=0.002"
PATH = ("idle", "validating", "routing", "cache_lookup", "loading_agent", "inferencing")


def elsewhere(call: Any, *arguments: Any) -> Any:
    """What `call` returns on another thread."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(call(*arguments)), daemon=True)
    thread.start()
    thread.join(20)
    return result[0]


def until(stream: Any, kind: type[Any], **fields: Any) -> Any:
    """The next event of one kind and with these fields."""
    return next(
        event
        for event in stream
        if isinstance(event, kind)
        and all(getattr(event, name) == value for name, value in fields.items())
    )


@pytest.fixture
def one_slot(make_fake_engine):
    """An engine that answers one at a time, and says so when it has nothing to say."""
    return make_fake_engine(worker={"slots": 1, "spares": 0}, stream={"heartbeat_s": 0.02})


def is_free(engine: Any) -> bool:
    """Whether the only slot answers the next question."""
    return engine.ask("hello").text == "echo: hello"


class TestCancel:
    def test_while_it_speaks(self, one_slot):
        """What was said stays; the slot is free for the next."""
        stream = one_slot.stream(ENDLESS, request_id="r1")
        until(stream, DeltaEvent)

        assert elsewhere(one_slot.cancel, "r1") is True
        last = list(stream)[-1]

        assert isinstance(last, FinalEvent)
        assert last.answer.finish_reason is FinishReason.CANCELLED
        assert last.answer.text.startswith("t0 ")
        assert last.answer.states == (*PATH, "cancelled")
        assert is_free(one_slot)

    def test_what_was_said_until_then_is_counted(self, one_slot):
        """A cancelled answer has cost tokens, too."""
        stream = one_slot.stream(ENDLESS, request_id="r1")
        until(stream, DeltaEvent)
        one_slot.cancel("r1")
        answer = list(stream)[-1].answer

        assert answer.usage.completion_tokens == len(answer.text.split()) > 0
        assert answer.usage.prompt_tokens > 0
        assert b'orion_tokens_total{kind="completion"}' in one_slot.metrics.render()

    def test_before_its_first_word(self, one_slot):
        """A long prefill ends at once."""
        stream = one_slot.stream("tokens=1 prefill=60", request_id="r1")
        until(stream, ProgressEvent, phase="prefill")

        one_slot.cancel("r1")
        last = list(stream)[-1]

        assert last.answer.finish_reason is FinishReason.CANCELLED
        assert last.answer.text == ""
        assert last.answer.timings.ttft_s is None
        assert is_free(one_slot)

    def test_while_it_waits_in_the_queue(self, one_slot):
        """It never runs; the one that runs is not touched."""
        first = one_slot.stream(ENDLESS, request_id="first")
        until(first, DeltaEvent)
        second = one_slot.stream("hello", request_id="second")
        until(second, ProgressEvent, phase="queue")

        assert elsewhere(one_slot.cancel, "second") is True
        last = list(second)[-1]

        assert last.answer.states == (*PATH[:-1], "cancelled")
        assert last.answer.timings.queue_s > 0
        until(first, DeltaEvent)
        first.close()
        assert is_free(one_slot)

    def test_while_its_model_loads(self, make_fake_engine):
        """The caller is free at once; the load goes on for the next."""
        engine = make_fake_engine(runtime_options={"fake": {"load_s": 0.4}})
        stream = engine.stream("hello", request_id="r1")
        until(stream, ProgressEvent, phase="loading_shard")

        elsewhere(engine.cancel, "r1")
        last = list(stream)[-1]

        assert last.answer.finish_reason is FinishReason.CANCELLED
        assert engine.stats()["workers"][0]["state"] == "loading"
        assert engine.ask("hello").text == "echo: hello"
        assert len(engine.stats()["workers"]) == 1

    @pytest.mark.parametrize("state", [RequestState.VALIDATING, RequestState.LOADING_AGENT])
    def test_before_it_has_asked_for_a_place(self, one_slot, state):
        """A cancel that comes early is not lost."""
        one_slot.load("conversation-agent")
        stream = one_slot.stream(ENDLESS, request_id="r1")
        until(stream, StateEvent, state=state)

        elsewhere(one_slot.cancel, "r1")
        last = list(stream)[-1]

        assert last.answer.finish_reason is FinishReason.CANCELLED
        assert is_free(one_slot)

    def test_what_does_not_run_cannot_be_cancelled(self, fake_engine):
        """Never begun, unknown, or over."""
        stream = fake_engine.stream("hello", request_id="r1")

        assert fake_engine.cancel("r1") is False
        list(stream)
        assert fake_engine.cancel("r1") is False
        assert fake_engine.cancel("nobody") is False

    def test_ask_returns_what_was_said(self, one_slot):
        """A cancelled answer is an answer."""
        seen = threading.Event()
        result: list[Any] = []

        def ask() -> None:
            seen.set()
            result.append(one_slot.ask(ENDLESS, request_id="r1"))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        seen.wait(20)
        while not one_slot.cancel("r1"):
            thread.join(0.001)
        thread.join(20)

        assert result[0].finish_reason is FinishReason.CANCELLED


class TestClose:
    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            (StateEvent, {"state": RequestState.VALIDATING}),
            (RouteEvent, {}),
            (StateEvent, {"state": RequestState.LOADING_AGENT}),
            (StateEvent, {"state": RequestState.INFERENCING}),
            (DeltaEvent, {}),
        ],
    )
    def test_a_caller_that_goes_frees_the_slot(self, one_slot, kind, fields):
        """Wherever the request is."""
        stream = one_slot.stream(ENDLESS)
        until(stream, kind, **fields)

        stream.close()

        assert is_free(one_slot)
        assert one_slot.stats()["requests"]["in_flight"] == 0
        assert b'outcome="cancelled"' in one_slot.metrics.render()

    def test_a_caller_that_goes_while_waiting_leaves_the_queue(self, one_slot):
        """Nobody runs for it later."""
        first = one_slot.stream(ENDLESS)
        until(first, DeltaEvent)
        second = one_slot.stream("hello")
        until(second, ProgressEvent)
        second.close()
        first.close()

        assert is_free(one_slot)
        assert one_slot.stats()["queue"]["waiting"] == 0

    def test_a_stream_nobody_reads_is_no_request(self, fake_engine):
        """It begins with the first look."""
        stream = fake_engine.stream("hello")

        assert fake_engine.stats()["requests"]["in_flight"] == 0
        stream.close()

    def test_going_after_the_end_changes_nothing(self, fake_engine):
        """The outcome was counted already."""
        stream = fake_engine.stream("hello")
        until(stream, StateEvent, state=RequestState.SUCCESS)

        stream.close()

        assert b'outcome="cancelled"' not in fake_engine.metrics.render()


class TestFailure:
    def test_before_any_text(self, fake_engine):
        """An error event without text; the worker lives."""
        events = list(fake_engine.stream("tokens=5 fail=0"))

        last = events[-1]
        assert isinstance(last, ErrorEvent)
        assert last.error.code == "generation_failed"
        assert last.text == ""
        again = ("fallback", *PATH[-2:])
        assert last.states == (*PATH, *again, "error")
        assert fake_engine.ask("hello").text == "echo: hello"

    def test_after_some_text(self, fake_engine):
        """What was said stays valid, as a part."""
        last = list(fake_engine.stream("tokens=5 fail=3"))[-1]

        assert last.text == "t0 t1 t2 "
        assert last.as_dict()["partial"] is True
        with pytest.raises(GenerationError):
            fake_engine.ask("tokens=5 fail=3")

    def test_a_load_that_fails(self, make_fake_engine):
        """The reason reaches the caller; the state it failed in is in the path."""
        engine = make_fake_engine(runtime_options={"fake": {"load_fail": "no room"}})
        last = list(engine.stream("hello"))[-1]

        assert last.error.public_message == (
            "The model smollm2-135m-instruct could not be loaded: no room."
        )
        assert last.states == (*PATH[:-1], "fallback", "loading_agent", "error")
        with pytest.raises(AgentLoadError):
            engine.load("code-agent")

    def test_a_model_that_cannot_be_served_here_disturbs_nobody(self, fake_engine):
        """The resident one is not evicted for it."""
        fake_engine.load("conversation-agent")
        unpinned = next(
            name for name, model in fake_engine.registry.models.items() if not model.is_servable
        )

        last = list(fake_engine.stream("hello", agent=unpinned))[-1]

        assert last.error.code == "not_servable"
        assert [entry["state"] for entry in fake_engine.stats()["workers"]] == ["ready"]
        assert fake_engine.health()["status"] == "ready"

    def test_an_answer_that_takes_too_long(self, make_fake_engine):
        """The deadline runs from the grant; the slot is free afterwards."""
        engine = make_fake_engine(deadline={"generate_s": 0.2}, worker={"slots": 1, "spares": 0})
        last = list(engine.stream("tokens=1 prefill=60"))[-1]

        assert last.error.code == "deadline"
        assert last.error.facts == {"phase": "reading the prompt", "limit_s": 0.2}
        assert is_free(engine)

    def test_a_load_that_hangs(self, make_fake_engine):
        """It is given up, with the time it was given."""
        engine = make_fake_engine(
            deadline={"load_s": 0.2}, runtime_options={"fake": {"load_hang": True}}
        )
        last = list(engine.stream("hello"))[-1]

        assert last.error.code == "load_failed"
        assert last.error.reason == "it made no progress for 0.2 s"
        assert engine.health()["status"] == "down"


class TestShutdown:
    def test_a_stream_under_way_ends_with_a_reason(self, fake_engine):
        """And with what was said."""
        stream = fake_engine.stream(ENDLESS)
        until(stream, DeltaEvent)

        elsewhere(fake_engine.shutdown, 0.0)
        last = list(stream)[-1]

        assert isinstance(last, ErrorEvent)
        assert isinstance(last.error, ShuttingDownError)
        assert last.text.startswith("t0 ")
        assert fake_engine.stats()["workers"] == []

    def test_an_answer_may_end_within_the_grace(self, fake_engine):
        """Only new ones are refused."""
        stream = fake_engine.stream("tokens=10 delay=0.01")
        until(stream, DeltaEvent)

        elsewhere(fake_engine.shutdown, 10.0)

        assert list(stream)[-1].answer.finish_reason is FinishReason.STOP

    def test_afterwards_everything_is_refused_and_nothing_hangs(self, fake_engine):
        """Twice is as good as once."""
        fake_engine.shutdown()
        fake_engine.shutdown(grace_s=0.0)

        last = list(fake_engine.stream("hello"))[-1]
        assert last.error.code == "shutting_down"
        assert last.states == ("idle", "error")
        with pytest.raises(ShuttingDownError):
            fake_engine.load("code-agent")
        assert fake_engine.unload("code-agent")["unloaded"] is False
        health = fake_engine.health()
        assert (health["status"], health["ready"]) == ("draining", False)
        assert health["reasons"] == ["the engine is shutting down"]

    def test_leaving_the_context_shuts_down(self, make_fake_engine):
        """Also on an exception."""
        engine = make_fake_engine()
        engine.load("code-agent")
        with pytest.raises(KeyError), engine as entered:
            {}.pop(entered)

        assert engine.health()["status"] == "draining"
        assert engine.stats()["workers"] == []

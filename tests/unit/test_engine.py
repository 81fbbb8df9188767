"""One request's walk, from the door to the last token, on a scripted model."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from typing import Any

import pytest

from orion.engine import Engine
from orion.errors import InvalidQueryError, OrionError, OverloadedError, UnknownAgentError
from orion.registry import AGENT_IDS, CONVERSATION_AGENT
from orion.types import (
    DeltaEvent,
    ErrorEvent,
    FinalEvent,
    FinishReason,
    ProgressEvent,
    RouteEvent,
    StateEvent,
)

MODEL = "smollm2-135m-instruct"
PATH = ("idle", "validating", "routing", "cache_lookup", "loading_agent", "inferencing")


def kinds(events: list[Any]) -> list[str]:
    """The types of events, a run of equal ones once, without the waiting."""
    heard = [event.type for event in events if not isinstance(event, ProgressEvent)]
    return [kind for kind, _ in itertools.groupby(heard)]


class TestStream:
    def test_the_events_of_an_answer_are_in_order(self, fake_engine):
        """States, the route, text, the end; the pieces make the answer."""
        events = list(fake_engine.stream("hello world", request_id="r1"))

        assert kinds(events) == ["state", "route", "state", "delta", "state", "final"]
        assert {event.request_id for event in events} == {"r1"}
        final = events[-1]
        assert isinstance(final, FinalEvent)
        assert final.answer.text == "echo: hello world"
        assert final.answer.text == "".join(
            event.text for event in events if isinstance(event, DeltaEvent)
        )

    def test_the_states_are_told_as_they_are_entered(self, fake_engine):
        """The answer carries the whole path."""
        events = list(fake_engine.stream("hello"))
        told = [event for event in events if isinstance(event, StateEvent)]

        assert tuple(event.state for event in told) == (*PATH[1:], "success")
        assert events[-1].answer.states == (*PATH, "success")
        times = [event.elapsed_s for event in told]
        assert times == sorted(times)

    def test_every_event_is_plain_values_for_json(self, fake_engine):
        """The faces send them on as they are."""
        import json

        for event in fake_engine.stream("tokens=3"):
            assert json.loads(json.dumps(event.as_dict()))["type"] == event.type

    def test_the_answer_says_who_gave_it(self, fake_engine):
        """Agent, model, runtime, why it ended, what it cost."""
        answer = fake_engine.ask("Write a Python function", max_tokens=64, seed=1)

        assert (answer.agent, answer.model, answer.runtime) == ("code-agent", MODEL, "llamacpp")
        assert answer.finish_reason is FinishReason.STOP
        assert answer.route.agent == "code-agent"
        assert answer.usage.completion_tokens == 2
        assert answer.usage.prompt_tokens > 4
        assert answer.cached is False
        assert answer.fallback_from is None

    def test_the_parts_of_the_time_to_first_text_add_up(self, fake_engine):
        """Cold and warm; nothing is counted twice and nothing is missing."""
        for start in ("cold", "warm"):
            timings = fake_engine.ask("tokens=5 delay=0.01 prefill=0.05").timings
            parts = (
                timings.guard_s
                + timings.route_s
                + timings.queue_s
                + timings.load_s
                + timings.prefill_s
            )
            assert parts == pytest.approx(timings.ttft_s, abs=1e-6)
            assert timings.start == start
            assert (timings.load_s > 0) is (start == "cold")
            assert timings.prefill_s >= 0.04
            assert timings.total_s == pytest.approx(timings.ttft_s + timings.decode_s, abs=1e-6)
            assert timings.tokens_per_s == pytest.approx(1 / timings.tpot_s)

    def test_a_caller_that_is_slow_changes_nothing_of_the_sum(self, fake_engine):
        """Its own time before the grant counts as waiting."""
        ticks = itertools.count()
        engine = with_services(fake_engine, clock=Ticking(ticks))

        final = list(engine.stream("tokens=2"))[-1]

        timings = final.answer.timings
        parts = timings.guard_s + timings.route_s + timings.queue_s
        assert parts + timings.load_s + timings.prefill_s == timings.ttft_s

    def test_someone_who_waits_hears_at_least_four_times_a_second(self, make_fake_engine):
        """Prefill, then a gap between tokens: the stream is never silent."""
        engine = make_fake_engine(stream={"heartbeat_s": 0.02})
        events = list(engine.stream("tokens=2 prefill=0.1 delay=0.1"))
        phases = [event.phase for event in events if isinstance(event, ProgressEvent)]

        assert phases.count("prefill") >= 2
        assert phases.count("decode") >= 2
        assert all(event.elapsed_s > 0 for event in events if isinstance(event, ProgressEvent))

    def test_a_cold_caller_sees_the_load_move(self, make_fake_engine):
        """Phase and ratio of the load itself."""
        engine = make_fake_engine(runtime_options={"fake": {"load_s": 0.3}})
        events = list(engine.stream("hello"))
        ratios = [
            event.ratio
            for event in events
            if isinstance(event, ProgressEvent) and event.phase == "loading_shard"
        ]

        assert ratios == sorted(ratios)
        assert set(ratios) <= {0.0, 0.25, 0.5, 0.75}
        assert len(set(ratios)) >= 3

    def test_someone_in_the_queue_hears_the_place(self, make_fake_engine):
        """From 1."""
        engine = make_fake_engine(worker={"slots": 1, "spares": 0}, stream={"heartbeat_s": 0.02})
        first = engine.stream("tokens=5000 delay=0.01")
        next(event for event in first if isinstance(event, DeltaEvent))
        second = engine.stream("hello")

        waiting = next(event for event in second if isinstance(event, ProgressEvent))

        assert (waiting.phase, waiting.position) == ("queue", 1)
        first.close()
        assert list(second)[-1].answer.text == "echo: hello"


class TestOptions:
    def test_an_agent_that_is_asked_for_is_taken(self, fake_engine):
        """The router is not asked; the route says so."""
        answer = fake_engine.ask("Write a Python function", agent="creative-agent")

        assert answer.agent == "creative-agent"
        assert answer.route.router == "caller"
        assert answer.route.confidence == 1.0
        assert answer.route.reason == "this agent was asked for"

    def test_a_model_can_be_asked_for(self, fake_engine):
        """Its own words only: no agent's system prompt."""
        answer = fake_engine.ask("system? hello", agent=MODEL)

        assert (answer.agent, answer.model) == (CONVERSATION_AGENT, MODEL)
        assert answer.text == "echo: system? hello"
        assert answer.route.reason == "this model was asked for"

    def test_an_agent_speaks_with_its_system_prompt(self, fake_engine):
        """Unless the caller gives one, alone or as the first of the history."""
        agent = fake_engine.registry.agent("code-agent")
        said = fake_engine.ask("system?", agent="code-agent").text
        assert said.startswith(f"system: {agent.system_prompt[:40]}")

        said = fake_engine.ask("system?", system_prompt="Be a pirate.").text
        assert said.startswith("system: Be a pirate.")

        history = [{"role": "system", "content": "Be a poet."}]
        said = fake_engine.ask("system?", agent=MODEL, history=history).text
        assert said.startswith("system: Be a poet.")

    def test_the_history_reaches_the_model(self, fake_engine):
        """As tokens of the prompt."""
        history = [
            {"role": "user", "content": "one two three"},
            {"role": "assistant", "content": "four five"},
        ]
        short = fake_engine.ask("six", agent=MODEL)
        long = fake_engine.ask("six", agent=MODEL, history=history)

        assert long.usage.prompt_tokens - short.usage.prompt_tokens == 5

    def test_the_caller_sets_the_length(self, fake_engine):
        """And is told that it was the limit."""
        answer = fake_engine.ask("tokens=50", max_tokens=3)

        assert answer.text == "t0 t1 t2 "
        assert answer.finish_reason is FinishReason.LENGTH
        assert answer.usage.completion_tokens == 3

    def test_an_option_nobody_knows_is_a_mistake_in_the_program(self, fake_engine):
        """Not in the request."""
        with pytest.raises(TypeError):
            fake_engine.stream("hello", temprature=1)

    def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(self, fake_engine):
        """By the worker, which counts tokens."""
        with pytest.raises(InvalidQueryError) as caught:
            fake_engine.ask("word " * 5000)

        assert caught.value.code == "context_too_long"
        assert caught.value.facts["prompt_tokens"] > caught.value.facts["context_tokens"] == 4096


class TestRefusal:
    @pytest.mark.parametrize(
        ("text", "options", "code"),
        [
            ("", {}, "invalid_query"),
            (None, {}, "invalid_query"),
            (5, {}, "invalid_query"),
            ("a\x00", {}, "invalid_query"),
            ("\ud800", {}, "invalid_query"),
            ("x" * 1_000_000, {}, "too_large"),
            ("hello", {"agent": "nobody"}, "unknown_agent"),
            ("hello", {"max_tokens": -1}, "invalid_query"),
            ("hello", {"temperature": 99}, "invalid_query"),
            ("hello", {"temperature": 10**400}, "invalid_query"),
            ("hello", {"history": [{"role": "wizard", "content": "x"}]}, "invalid_query"),
            ("hello", {"request_id": 5}, "invalid_query"),
            ("hello", {"request_id": ["r1"]}, "invalid_query"),
        ],
    )
    def test_bad_input_ends_in_one_error_event(self, fake_engine, text, options, code):
        """Validated and no further; nothing is raised, nothing is loaded."""
        events = list(fake_engine.stream(text, **options))

        assert kinds(events) == ["state", "error"]
        assert events[-1].error.code == code
        assert events[-1].states == ("idle", "validating", "error")
        assert events[-1].text == ""
        assert fake_engine.stats()["workers"] == []

    def test_ask_raises_what_stream_tells(self, fake_engine):
        """For callers that want the answer whole."""
        with pytest.raises(UnknownAgentError) as caught:
            fake_engine.ask("hello", agent="nobody")

        assert caught.value.status == 404

    def test_two_requests_of_one_name_cannot_run_at_once(self, fake_engine):
        """The first is untouched; afterwards the name is free."""
        first = fake_engine.stream("hello", request_id="r1")
        next(first)

        with pytest.raises(InvalidQueryError, match="id of a request under way"):
            fake_engine.ask("hello", request_id="r1")

        assert list(first)[-1].answer.text == "echo: hello"
        assert fake_engine.ask("again", request_id="r1").text == "echo: again"

    def test_a_name_can_come_again_before_its_worker_has_let_go(self, make_fake_engine):
        """Stop, and send once more under the same id: each gets its own answer."""
        engine = make_fake_engine(worker={"slots": 1, "spares": 0})
        for _ in range(5):
            stream = engine.stream("tokens=20000 delay=0.001", request_id="r1")
            next(event for event in stream if isinstance(event, DeltaEvent))
            stream.close()
            assert engine.ask("hello", request_id="r1").text == "echo: hello"

    def test_a_full_queue_is_told_with_a_time(self, make_fake_engine):
        """Retry-After of the faces."""
        engine = make_fake_engine(worker={"slots": 1, "spares": 0}, queue_max=0)
        first = engine.stream("tokens=5000 delay=0.01")
        next(event for event in first if isinstance(event, DeltaEvent))

        with pytest.raises(OverloadedError) as caught:
            engine.ask("hello")

        assert caught.value.facts["retry_after_s"] >= 1.0
        first.close()


class TestRoute:
    def test_routing_alone_asks_no_model(self, fake_engine):
        """Nothing is loaded for it."""
        route = fake_engine.route("Write a Python function that reverses a string")

        assert route.agent == "code-agent"
        assert fake_engine.stats()["workers"] == []

    def test_routing_holds_input_to_the_same_rules(self, fake_engine):
        """Text and history."""
        for text, history in (("", None), ("hello", 5)):
            with pytest.raises(InvalidQueryError):
                fake_engine.route(text, history)

    def test_every_agent_can_be_reached(self, fake_engine):
        """By its name."""
        for agent in AGENT_IDS:
            event = next(
                event
                for event in fake_engine.stream("hello", agent=agent)
                if isinstance(event, RouteEvent)
            )
            assert (event.route.agent, event.model) == (agent, MODEL)


def with_services(engine: Engine, **replaced: Any) -> Engine:
    """The same engine with some of its parts exchanged."""
    services = dataclasses.replace(engine._services, **replaced)
    return Engine(services, engine.settings, engine._report, engine._reloader)


class Ticking:
    """A clock that moves by one second whenever it is read."""

    def __init__(self, ticks: itertools.count[int]) -> None:
        self._ticks = ticks

    def now(self) -> float:
        return float(next(self._ticks))


class Broken:
    """A part with a bug: every method raises."""

    name = "broken"

    def __getattr__(self, name: str) -> Any:
        def method(*arguments: Any, **given: Any) -> None:
            raise ZeroDivisionError

        return method


class TestBug:
    def test_a_bug_in_a_part_is_an_error_event(self, fake_engine):
        """Nothing but OrionError is ever seen, and nothing of the inside."""
        events = list(with_services(fake_engine, router=Broken()).stream("hello"))

        assert isinstance(events[-1], ErrorEvent)
        assert events[-1].error.code == "orion"
        assert events[-1].error.public_message == OrionError.template
        assert events[-1].states[-1] == "error"

    def test_a_bug_after_the_answer_still_ends_the_stream_with_an_event(self, fake_engine):
        """The text is not lost."""

        class Uncounting(Broken):
            def routed(self, agent: str, *, abstained: bool) -> None:
                pass

        events = list(with_services(fake_engine, metrics=Uncounting()).stream("hello"))

        assert isinstance(events[-1], ErrorEvent)
        assert events[-1].text == "echo: hello"

    def test_requests_of_many_threads_do_not_mix(self, make_fake_engine):
        """Twelve at once over four slots: each gets its own text."""
        engine = make_fake_engine(worker={"slots": 4, "spares": 0})
        answers: dict[int, str] = {}

        def ask(number: int) -> None:
            answers[number] = engine.ask(f"number {number}").text

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert answers == {number: f"echo: number {number}" for number in range(12)}

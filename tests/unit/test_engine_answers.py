"""Answers given again by the engine: when, to whom, how it says so, and when not."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from orion.clock import ManualClock
from orion.engine.walk import Walk
from orion.types import DeltaEvent, FinalEvent, ProgressEvent, Query, StateEvent
from tests.fakes.flight import make_cache

MODEL = "smollm2-135m-instruct"
GREEDY: dict[str, Any] = {"temperature": 0, "session": "s1"}
HISTORY = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
PATH = ("idle", "validating", "routing", "cache_lookup")


def counts(engine: Any) -> dict[str, Any]:
    return dict(engine.stats()["answer_cache"])


def asked_twice(engine: Any, text: str = "hello", **options: Any) -> bool:
    """Whether the second time is from the answer cache."""
    given = {**GREEDY, **options}
    engine.ask(text, **given)
    return bool(engine.ask(text, **given).cached)


def walk(engine: Any, query: Query, **replaced: Any) -> list[Any]:
    """The events of a query in an engine with some parts exchanged."""
    return list(Walk(dataclasses.replace(engine._services, **replaced), query).events())


class TestHit:
    def test_the_text_is_the_same_byte_for_byte(self, fake_engine):
        """Spaces, accents and all; and only the cache was asked."""
        text = "  Déjà vu ?\t漢字 \U0001f600\u200b  "
        first = fake_engine.ask(text, **GREEDY)
        second = fake_engine.ask(text, **GREEDY)

        assert second.text.encode() == first.text.encode() == f"echo: {text}".encode()
        assert (first.cached, first.cached_age_s) == (False, None)
        assert second.cached
        assert second.cached_age_s >= 0
        assert (counts(fake_engine)["hits"], counts(fake_engine)["misses"]) == (1, 1)

    def test_it_goes_from_the_lookup_to_the_end(self, fake_engine):
        """One piece of text, no model, no queue."""
        fake_engine.ask("hello", **GREEDY)
        fake_engine.unload(MODEL)
        events = list(fake_engine.stream("hello", **GREEDY, request_id="r2"))

        kinds = [kind for kind, _ in itertools.groupby(event.type for event in events)]
        assert kinds == ["state", "route", "state", "delta", "state", "final"]
        assert events[-1].answer.states == (*PATH, "success")
        told = [event.state for event in events if isinstance(event, StateEvent)]
        assert told == ["validating", "routing", "cache_lookup", "success"]
        assert {event.request_id for event in events} == {"r2"}
        assert fake_engine.stats()["workers"] == []

    def test_it_says_what_the_answer_cost_and_what_this_time_took(self, fake_engine):
        """Tokens are those of its making; times are this request's own; no speed is claimed."""
        first = fake_engine.ask("tokens=5 delay=0.01", **GREEDY)
        second = fake_engine.ask("tokens=5 delay=0.01", **GREEDY)

        assert second.usage == first.usage
        assert (second.agent, second.model, second.runtime) == (
            first.agent, first.model, first.runtime,
        )  # fmt: skip
        timings = second.timings
        assert (timings.start, timings.load_s, timings.tpot_s) == ("warm", 0.0, None)
        assert timings.tokens_per_s is None
        parts = timings.guard_s + timings.route_s + timings.queue_s + timings.prefill_s
        assert parts == pytest.approx(timings.ttft_s, abs=1e-6)
        assert timings.total_s < first.timings.total_s

    def test_its_tokens_are_counted_once(self, fake_engine):
        """The metrics tell what was made; first texts from the cache are timed apart."""
        for _ in range(3):
            fake_engine.ask("tokens=7", **GREEDY)
        text = fake_engine.metrics.render().decode()

        assert 'orion_tokens_total{kind="completion"} 7.0' in text
        assert 'orion_ttft_seconds_count{start="cached"} 2.0' in text
        assert 'outcome="success"} 3.0' in text

    def test_an_answer_has_its_time(self, fake_engine):
        """It says its age, and after that it is made anew."""
        clock = ManualClock()
        cache = make_cache(clock, ttl_s=60.0)

        def ask() -> Any:
            return walk(fake_engine, Query(text="hello", **GREEDY), answer_cache=cache)[-1].answer

        assert not ask().cached
        clock.advance(59.0)
        assert ask().cached_age_s == 59.0
        clock.advance(1.0)
        assert not ask().cached
        assert cache.stats()["expired"] == 1

    def test_a_seed_will_do(self, fake_engine):
        """The same draw gives the same answer."""
        assert asked_twice(fake_engine, temperature=1.0, seed=7)
        assert not asked_twice(fake_engine, temperature=1.0)

    def test_a_cancel_that_came_first_holds(self, fake_engine):
        """Also where the answer is there already."""
        fake_engine.ask("hello", **GREEDY)
        stream = fake_engine.stream("hello", **GREEDY, request_id="r1")
        next(event for event in stream if isinstance(event, StateEvent))
        fake_engine.cancel("r1")

        assert list(stream)[-1].answer.finish_reason == "cancelled"

    def test_a_reader_that_goes_at_its_text_is_counted_as_gone(self, fake_engine):
        """A hit can be abandoned, too."""
        fake_engine.ask("hello", **GREEDY)
        stream = fake_engine.stream("hello", **GREEDY)
        next(event for event in stream if isinstance(event, DeltaEvent))
        stream.close()

        assert b'outcome="cancelled"' in fake_engine.metrics.render()
        assert fake_engine.stats()["requests"]["in_flight"] == 0


class TestScope:
    def test_without_a_session_nothing_is_kept(self, fake_engine):
        """Nor under an empty one."""
        assert not asked_twice(fake_engine, session=None)
        assert not asked_twice(fake_engine, session="")
        assert counts(fake_engine)["entries"] == counts(fake_engine)["misses"] == 0

    @pytest.mark.parametrize(
        "changes",
        [
            {"session": "s2"},
            {"client": "someone else"},
            {"history": HISTORY},
            {"system_prompt": "Be brief."},
            {"max_tokens": 100},
            {"stop": ["END"]},
            {"seed": 1},
            {"trim_history": True},
            {"agent": "creative-agent"},
            {"agent": MODEL},
            {"text": "hello "},
            {"text": "Hello"},
        ],
    )
    def test_another_question_is_another_answer(self, fake_engine, changes):
        """In whatever it differs."""
        fake_engine.ask("hello", **GREEDY)
        text = changes.pop("text", "hello")

        assert not fake_engine.ask(text, **{**GREEDY, **changes}).cached

    def test_single_questions_can_be_everybodys(self, make_fake_engine):
        """Where the operator says so; never a conversation, never the caller's own rules."""
        engine = make_fake_engine(answer_cache={"public": True})
        engine.ask("hello", temperature=0)

        assert engine.ask("hello", temperature=0, session="s2").cached
        for options in ({"history": HISTORY}, {"system_prompt": "Be brief."}):
            engine.ask("hello", **GREEDY, **options)
            again = engine.ask("hello", temperature=0, session="s2", **options)
            assert not again.cached
        engine.purge_session("s1")
        assert engine.ask("hello", temperature=0, session="s3").cached

    def test_a_session_that_is_over_leaves_nothing(self, fake_engine):
        """The page says so when a tab goes."""
        fake_engine.ask("hello", **GREEDY)
        fake_engine.ask("hello", temperature=0, session="s2")
        fake_engine.purge_session("s1")

        assert counts(fake_engine)["entries"] == 1
        assert not fake_engine.ask("hello", **GREEDY).cached
        assert fake_engine.ask("hello", temperature=0, session="s2").cached

    def test_it_can_be_switched_off(self, make_fake_engine):
        """Then every question is answered anew."""
        engine = make_fake_engine(answer_cache={"enabled": False})

        assert not asked_twice(engine)
        assert counts(engine) == {**counts(engine), "enabled": False, "entries": 0, "misses": 0}


class TestNeverKept:
    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("tokens=50", {"max_tokens": 3}),
            ("tokens=5 fail=0", {"agent": "code-agent"}),
            ("tokens=5 fail=3", {}),
            ("empty", {}),
        ],
        ids=["cut by its length", "failed", "failed in the middle", "without a word"],
    )
    def test_what_did_not_end_well(self, fake_engine, text, options):
        """Errors, partial answers and those that were cut."""
        for _ in range(2):
            last = list(fake_engine.stream(text, **GREEDY, **options))[-1]
            assert not (isinstance(last, FinalEvent) and last.answer.cached)

        assert counts(fake_engine)["stored"] == 0

    def test_an_answer_of_another_agent(self, make_fake_engine):
        """Whoever asks again gets the agent that was meant, if it works again."""
        engine = make_fake_engine(faults=True)
        engine.inject_fault("code-agent", "fail")
        fallen = engine.ask("hello", agent="code-agent", **GREEDY)
        assert fallen.fallback_from == "code-agent"
        again = engine.ask("hello", agent="code-agent", **GREEDY)

        assert (again.agent, again.cached, again.fallback_from) == ("code-agent", False, None)
        assert counts(engine)["stored"] == 1

    def test_what_was_cancelled_or_abandoned(self, fake_engine):
        """Half an answer is none."""
        endless = "tokens=20000 delay=0.002"
        stream = fake_engine.stream(endless, **GREEDY, request_id="r1")
        next(event for event in stream if isinstance(event, DeltaEvent))
        fake_engine.cancel("r1")
        assert list(stream)[-1].answer.finish_reason == "cancelled"
        stream = fake_engine.stream(endless, **GREEDY)
        next(event for event in stream if isinstance(event, DeltaEvent))
        stream.close()

        assert counts(fake_engine) == {**counts(fake_engine), "stored": 0, "flights": 0}


class TestTicket:
    def test_what_the_caller_set_reaches_the_dispatcher(self, fake_engine):
        """Client, time to stay and deadline; the session only as an opaque key."""
        seen: list[Any] = []

        class Noting:
            def submit(self, ticket: Any) -> None:
                seen.append(ticket)
                fake_engine._services.dispatcher.submit(ticket)

            def __getattr__(self, name: str) -> Any:
                return getattr(fake_engine._services.dispatcher, name)

        for more in ({"session": "my name"}, {"session": "my name"}, {}):
            query = Query(text="hello", client="c1", keep_alive=30, deadline_s=7.5, **more)
            assert isinstance(walk(fake_engine, query, dispatcher=Noting())[-1], FinalEvent)
        walk(fake_engine, Query(text="hello"), dispatcher=Noting())

        first, _, third, plain = seen
        assert (first.client, first.keep_alive_s, first.limit_s) == ("c1", 30.0, 7.5)
        sessions = [ticket.attempts[0].generate.session for ticket in seen]
        assert sessions[0] == sessions[1] != ""
        assert "my name" not in sessions[0]
        assert sessions[2:] == ["", ""]
        assert (plain.client, plain.keep_alive_s) == ("", None)
        assert plain.limit_s == fake_engine.settings.deadline.request_s
        assert third.attempts[0].generate.request_id == third.request_id

    def test_the_place_and_the_wait_are_told(self, make_fake_engine):
        """As the dispatcher estimates them, again with every heartbeat."""
        engine = make_fake_engine(worker={"slots": 1, "spares": 0}, stream={"heartbeat_s": 0.02})
        first = engine.stream("tokens=20000 delay=0.002")
        next(event for event in first if isinstance(event, DeltaEvent))
        second = engine.stream("hello")
        told = [
            event
            for event in itertools.islice(second, 12)
            if isinstance(event, ProgressEvent) and event.position is not None
        ]
        first.close()

        assert {(event.phase, event.position) for event in told} == {("queue", 1)}
        assert all(event.wait_s is None or event.wait_s >= 0 for event in told)
        assert list(second)[-1].answer.text == "echo: hello"

"""The engine when agents fail: another one answers, breakers tell, faults can be asked for."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orion.engine import Engine
from orion.errors import (
    AgentPausedError,
    FaultsOffError,
    GenerationError,
    InvalidQueryError,
    OrionError,
    UnknownAgentError,
)
from orion.types import ErrorEvent, FinalEvent, RequestState, RouteEvent, StateEvent

MODEL = "smollm2-135m-instruct"
WAIT_S = 10.0


def faulty(make_fake_engine: Any, **given: Any) -> Engine:
    """An engine that injects faults, in a process of its own where a kill is a kill."""
    engine: Engine = make_fake_engine(faults=True, **given)
    return engine


def breaker(engine: Engine, name: str) -> dict[str, Any]:
    return next(entry for entry in engine.stats()["breakers"] if entry["name"] == name)


class TestFallback:
    def test_another_agent_gives_the_whole_answer(self, make_fake_engine):
        """The answer says who gave it and who should have."""
        engine = faulty(make_fake_engine)
        engine.inject_fault("code-agent", "fail")
        answer = engine.ask("hello", agent="code-agent")

        assert answer.text == "echo: hello"
        assert (answer.agent, answer.fallback_from) == ("conversation-agent", "code-agent")
        assert answer.route.agent == "code-agent"
        assert answer.states[-5:] == (
            "inferencing", "fallback", "loading_agent", "inferencing", "success",
        )  # fmt: skip
        assert answer.timings.failed_s > 0
        assert engine.stats()["fallbacks"] == 1
        assert b"orion_fallbacks_total 1.0" in engine.metrics.render()

    def test_the_stream_tells_of_it_as_a_state_and_a_second_route(self, make_fake_engine):
        """In this order, before any text."""
        engine = faulty(make_fake_engine)
        engine.inject_fault("code-agent", "oom")
        events = [
            event
            for event in engine.stream("hello", agent="code-agent")
            if isinstance(event, RouteEvent)
            or (isinstance(event, StateEvent) and event.state is RequestState.FALLBACK)
        ]

        assert [event.type for event in events] == ["route", "state", "route"]
        last = events[-1]
        assert isinstance(last, RouteEvent)
        assert last.route.agent == "conversation-agent"
        assert last.route.reason.startswith("code-agent failed (out_of_memory)")

    def test_the_default_agent_has_one_too(self, make_fake_engine):
        """A lost worker costs it no answer either."""
        engine = faulty(make_fake_engine)
        engine.inject_fault("conversation-agent", "fail")

        answer = engine.ask("hello", agent="conversation-agent")

        assert (answer.agent, answer.fallback_from) == ("multilingual-agent", "conversation-agent")

    def test_a_model_asked_for_by_name_is_not_replaced(self, fake_engine):
        """Whoever names one wants that one."""
        last = list(fake_engine.stream("tokens=5 fail=0", agent=MODEL))[-1]

        assert isinstance(last, ErrorEvent)
        assert last.error.code == "generation_failed"
        assert "fallback" not in last.states

    def test_the_last_resort_may_lose_a_worker_and_go_on(self, make_fake_engine):
        """A paused agent has used up its turn, and a lost process says nothing of an agent."""
        engine = faulty(make_fake_engine, executor="spawn")
        engine.force_open("code-agent")
        engine.inject_fault("conversation-agent", "kill")
        answer = engine.ask("hello", agent="code-agent")

        assert (answer.text, answer.agent) == ("echo: hello", "conversation-agent")
        assert answer.states.count("fallback") == 2

    def test_who_asks_for_the_whole_gets_the_part_with_the_error(self, fake_engine):
        """Nothing that was written is thrown away."""
        with pytest.raises(GenerationError) as caught:
            fake_engine.ask("tokens=5 fail=3")
        assert caught.value.partial_text == "t0 t1 t2 "

    def test_the_parts_of_the_time_still_add_up(self, make_fake_engine):
        """What a failed attempt took is a part of the time to the first text."""
        engine = faulty(make_fake_engine)
        engine.inject_fault("code-agent", "fail")
        times = engine.ask("tokens=3 prefill=0.05", agent="code-agent").timings

        parts = (times.guard_s, times.route_s, times.failed_s, times.queue_s, times.load_s)
        assert times.ttft_s == pytest.approx(sum(parts) + times.prefill_s)


class TestBreakers:
    def test_they_are_there_before_anything_was_asked(self, fake_engine):
        """One per agent for answers, one per model for loads."""
        names = [entry["name"] for entry in fake_engine.stats()["breakers"]]

        assert f"load:{MODEL}" in names
        assert sum(name.startswith("generate:") for name in names) == len(
            fake_engine.registry.agents
        )

    def test_three_failures_open_one_and_the_status_says_so(self, make_fake_engine):
        """State, cause and time to the next trial; other agents are healthy."""
        engine = faulty(make_fake_engine)
        engine.inject_fault("code-agent", "fail", times=3)
        for _ in range(3):
            engine.ask("hello", agent="code-agent")

        seen = breaker(engine, "generate:code-agent")
        assert (seen["state"], seen["last_error"]["code"]) == ("open", "generation_failed")
        assert 0 < seen["retry_after_s"] <= 33.0
        health = engine.health()
        assert (health["status"], health["ready"]) == ("degraded", True)
        assert health["breakers"]["down"] == ["generate:code-agent"]
        assert b'orion_breaker_open{breaker="generate:code-agent"} 1.0' in engine.metrics.render()

    @pytest.mark.parametrize("name", ["code-agent", "generate:code-agent", None])
    def test_one_can_be_opened_and_reset_by_hand(self, fake_engine, name):
        """By agent, by its own name, or all of them."""
        assert fake_engine.force_open("code-agent") == ["generate:code-agent"]
        assert fake_engine.ask("hello", agent="code-agent").fallback_from == "code-agent"

        assert "generate:code-agent" in fake_engine.reset_breakers(name)
        assert fake_engine.ask("hello", agent="code-agent").fallback_from is None

    def test_a_model_is_paused_whole_though_nobody_asked_for_it_yet(self, fake_engine):
        """Its loads, and its answers to those who name it."""
        assert fake_engine.force_open(MODEL) == [f"generate:{MODEL}", f"load:{MODEL}"]
        with pytest.raises(AgentPausedError):
            fake_engine.ask("hello", agent=MODEL)

    @pytest.mark.parametrize("name", ["nobody", 3, ""])
    def test_a_breaker_that_is_none_is_refused(self, fake_engine, name):
        """With the names there are."""
        with pytest.raises(UnknownAgentError, match="generate:code-agent"):
            fake_engine.reset_breakers(name)
        with pytest.raises(UnknownAgentError):
            fake_engine.force_open(name)

    def test_they_can_be_switched_off(self, make_fake_engine):
        """Then nothing is ever refused."""
        engine = faulty(make_fake_engine, breaker={"enabled": False})
        engine.inject_fault("code-agent", "fail", times=5)
        for _ in range(5):
            engine.ask("hello", agent="code-agent")

        assert engine.ask("hello", agent="code-agent").fallback_from is None


class TestFaults:
    def test_they_are_off_unless_the_server_was_started_for_them(self, fake_engine):
        """Injecting, listing and clearing."""
        for call in (
            lambda: fake_engine.inject_fault("code-agent", "fail"),
            fake_engine.faults,
            fake_engine.clear_faults,
        ):
            with pytest.raises(FaultsOffError):
                call()

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            (("nobody", "fail"), "agent"),
            ((3, "fail"), "agent"),
            (("code-agent", "explode"), "kind"),
            (("code-agent", None), "kind"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, make_fake_engine, given, field):
        """With what would."""
        with pytest.raises(InvalidQueryError) as caught:
            faulty(make_fake_engine).inject_fault(*given)
        assert caught.value.field == field

    @pytest.mark.parametrize("more", [{"where": "moon"}, {"times": 0}, {"times": True}])
    def test_so_is_a_place_or_a_number(self, make_fake_engine, more):
        """Nothing is stored."""
        engine = faulty(make_fake_engine)
        with pytest.raises(InvalidQueryError):
            engine.inject_fault("code-agent", "fail", **more)
        assert engine.faults() == []

    def test_what_waits_to_strike_can_be_seen_and_forgotten(self, make_fake_engine):
        """A fault of a load is one of the model."""
        engine = faulty(make_fake_engine)
        engine.inject_fault("code-agent", "fail")
        engine.inject_fault("code-agent", "slow", where="load", times=2)

        assert engine.faults() == [
            {"target": "code-agent", "where": "generate", "kind": "fail", "times": 1},
            {"target": MODEL, "where": "load", "kind": "slow", "times": 2},
        ]
        assert engine.clear_faults() == 2
        assert engine.faults() == []


class TestHealth:
    @pytest.mark.process
    def test_a_lost_worker_is_told_and_comes_back(self, make_fake_engine):
        """Nobody has to ask for it."""
        engine = faulty(make_fake_engine, executor="spawn")
        engine.load("code-agent")
        engine.inject_fault("code-agent", "kill")
        engine.inject_fault("code-agent", "slow", where="load")

        last = None
        seen: set[str] = set()
        for event in engine.stream("hello", agent="code-agent"):
            seen.add(str(engine.health()["status"]))
            last = event

        assert isinstance(last, FinalEvent)
        assert last.answer.fallback_from == "code-agent"
        assert "down" in seen
        assert engine.health()["ready"] is True
        assert engine.stats()["deaths"] == 1
        assert engine.stats()["workers"][0]["restarts"] == 1

    def test_an_engine_keeps_what_it_preloaded(self, make_fake_engine):
        """It is loaded without a request, and ready then."""
        engine = faulty(make_fake_engine)
        engine.preload()
        pause = threading.Event()
        for _ in range(int(WAIT_S / 0.01)):
            if engine.health()["status"] == "ready":
                break
            pause.wait(0.01)

        assert [entry["state"] for entry in engine.stats()["workers"]] == ["ready"]


class TestPoison:
    @pytest.mark.process
    def test_a_message_that_kills_costs_two_workers_and_is_then_refused(self, make_fake_engine):
        """Others are answered throughout."""
        engine = make_fake_engine(executor="spawn")
        codes = []
        for _ in range(4):
            with pytest.raises(OrionError) as caught:
                engine.ask("tokens=3 die=0", agent="code-agent")
            codes.append(caught.value.code)
            assert engine.ask("hello", agent="code-agent").text == "echo: hello"

        assert codes == ["quarantined"] * 4
        assert engine.stats()["deaths"] == 2
        assert engine.stats()["quarantined"] == 1

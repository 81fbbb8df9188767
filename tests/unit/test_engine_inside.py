"""What the engine says of itself: agents, workers, queue, health; loads on request."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orion.engine import Engine
from orion.errors import (
    AgentLoadError,
    InvalidQueryError,
    OverloadedError,
    UnknownAgentError,
)
from orion.registry import AGENT_IDS
from orion.types import DeltaEvent

MODEL = "smollm2-135m-instruct"
ENDLESS = "tokens=20000 delay=0.002"


class TestLoad:
    @pytest.mark.parametrize("name", ["code-agent", MODEL])
    def test_an_agent_and_a_model_can_be_loaded(self, fake_engine, name):
        """It returns when the model is there; a second time costs nothing."""
        loaded = fake_engine.load(name)

        assert loaded["resident"] is True
        assert (loaded["model"], loaded["runtime"]) == (MODEL, "llamacpp")
        assert loaded["load_s"] > 0
        assert fake_engine.load(name)["load_s"] == 0
        assert fake_engine.ask("hello").timings.start == "warm"

    def test_an_unload_ends_the_worker(self, fake_engine):
        """False when there was none."""
        fake_engine.load("code-agent")

        assert fake_engine.unload("code-agent") == {"model": MODEL, "unloaded": True}
        assert fake_engine.stats()["workers"] == []
        assert fake_engine.unload(MODEL) == {"model": MODEL, "unloaded": False}

    def test_an_unload_waits_for_the_answers_under_way(self, fake_engine):
        """They end in peace."""
        stream = fake_engine.stream("tokens=30 delay=0.002")
        next(event for event in stream if isinstance(event, DeltaEvent))
        result: list[Any] = []
        thread = threading.Thread(
            target=lambda: result.append(fake_engine.unload(MODEL)), daemon=True
        )
        thread.start()

        text = list(stream)[-1].answer.text
        thread.join(20)

        assert text == "".join(f"t{index} " for index in range(30))
        assert result == [{"model": MODEL, "unloaded": True}]

    def test_a_load_can_say_how_long_the_model_stays(self, make_fake_engine):
        """As a request can; pinned it stays whatever happens."""
        engine = make_fake_engine(memory={"keep_alive_s": 300})

        engine.load(MODEL, keep_alive="10m", pin=True)
        (row,) = engine.stats()["models"]
        engine.load(MODEL, pin=False)
        (after,) = engine.stats()["models"]

        assert (row["keep_alive_s"], row["pinned"]) == (600, True)
        assert (after["keep_alive_s"], after["pinned"]) == (300, False)

    def test_an_unload_takes_the_pin_away(self, fake_engine):
        """It was asked for."""
        fake_engine.load(MODEL, pin=True)

        assert fake_engine.unload(MODEL)["unloaded"] is True
        fake_engine.load(MODEL)

        assert [row["pinned"] for row in fake_engine.stats()["models"]] == [False]

    def test_a_load_that_fails_leaves_no_pin(self, make_fake_engine):
        """Unless the settings ask for it."""
        engine = make_fake_engine(runtime_options={"fake": {"load_fail": "broken"}})

        with pytest.raises(AgentLoadError):
            engine.load(MODEL, pin=True)

        dispatcher = engine._services.dispatcher
        dispatcher.unload("nobody", 10.0)  # answered after what was asked before
        assert dispatcher._desk.scheduler.cache.pinned == set()

    @pytest.mark.parametrize(
        "given", [{"keep_alive": "soon"}, {"keep_alive": True}, {"pin": "yes"}, {"pin": 1}]
    )
    def test_nonsense_about_it_is_refused(self, fake_engine, given):
        """Before anything is loaded."""
        with pytest.raises(InvalidQueryError):
            fake_engine.load(MODEL, **given)

        assert fake_engine.stats()["models"] == []

    @pytest.mark.parametrize("name", ["nobody", "auto", ""])
    def test_what_has_no_name_cannot_be_loaded(self, fake_engine, name):
        """Nor unloaded."""
        for call in (fake_engine.load, fake_engine.unload):
            with pytest.raises(UnknownAgentError):
                call(name)

    def test_a_spare_is_there_for_the_next_load(self, make_fake_engine):
        """Imports done, no model yet."""
        engine = make_fake_engine(worker={"spares": 1})
        engine.load("code-agent")
        engine.keep_spares()

        def states() -> list[str]:
            return sorted(entry["state"] for entry in engine.stats()["workers"])

        pause = threading.Event()
        while states() != ["ready", "spare"]:
            pause.wait(0.01)
        spare = next(entry for entry in engine.stats()["workers"] if entry["state"] == "spare")
        assert (spare["model"], spare["slots"]) == (None, None)


class TestCounters:
    def test_models_loads_and_refusals_can_be_scraped(self, make_fake_engine):
        """By name, code and model."""
        engine = make_fake_engine(queue_max=0, worker={"slots": 1, "spares": 0})
        engine.load(MODEL)
        running = engine.stream(ENDLESS)
        next(event for event in running if isinstance(event, DeltaEvent))
        with pytest.raises(OverloadedError):
            engine.ask("hello", agent=MODEL)
        running.close()
        engine.reload()
        engine.unload(MODEL)

        told = engine.metrics.render().decode()

        assert "orion_model_loads_total 1.0" in told
        assert "orion_model_evictions_total 1.0" in told
        assert "orion_registry_reloads_total 1.0" in told
        assert 'orion_refusals_total{code="overloaded"} 1.0' in told
        assert "orion_answer_cache_hits_total 0.0" in told


class TestStats:
    def test_an_engine_that_has_done_nothing(self, fake_engine):
        """Empty, and its limits."""
        stats = fake_engine.stats()

        assert stats["workers"] == []
        assert (stats["queue"]["waiting"], stats["queue"]["max"]) == (0, 16)
        assert stats["models"] == []
        assert stats["requests"] == {
            "in_flight": 0, "by_state": {}, "running": 0, "peak": 0, "capacity": 4,
        }  # fmt: skip
        assert stats["last_load_error"] is None
        assert stats["uptime_s"] >= 0

    def test_a_request_under_way_is_seen(self, fake_engine):
        """In its state, on its worker."""
        stream = fake_engine.stream(ENDLESS)
        next(event for event in stream if isinstance(event, DeltaEvent))
        stats = fake_engine.stats()
        (worker,) = stats["workers"]

        assert stats["requests"]["by_state"] == {"inferencing": 1}
        assert (stats["requests"]["in_flight"], stats["requests"]["running"]) == (1, 1)
        assert (worker["model"], worker["state"], worker["active"]) == (MODEL, "ready", 1)
        assert (worker["slots"], worker["context_tokens"]) == (4, 4096)
        assert worker["details"] == {"fake": True}
        assert worker["load_s"] >= 0
        stream.close()

    def test_the_token_counter_of_a_worker_moves(self, fake_engine):
        """It is what shows that a stop stopped."""
        stream = fake_engine.stream(ENDLESS)
        seen = 0
        for _ in stream:
            seen = fake_engine.stats()["workers"][0]["num_tokens"] if _.type == "delta" else 0
            if seen > 0:
                break

        assert seen > 0
        assert fake_engine.stats()["workers"][0]["rss_bytes"] > 0
        stream.close()

    def test_a_failed_load_is_remembered_until_one_ends_well(self, make_fake_engine):
        """With its code and its sentence."""
        engine = make_fake_engine(runtime_options={"fake": {"load_fail": "no room"}})
        with pytest.raises(AgentLoadError):
            engine.ask("hello")

        error = engine.stats()["last_load_error"]
        assert error["code"] == "load_failed"
        assert "no room" in error["message"]

    def test_the_gauges_tell_the_same(self, fake_engine):
        """Read at each scrape."""
        stream = fake_engine.stream(ENDLESS)
        next(event for event in stream if isinstance(event, DeltaEvent))
        text = fake_engine.metrics.render().decode()

        assert "orion_requests_running 1.0" in text
        assert "orion_requests_waiting 0.0" in text
        assert "orion_requests_capacity 4.0" in text
        assert "orion_workers_rss_bytes" in text
        stream.close()


def said(engine: Engine) -> dict[str, Any]:
    """Health without the breakers."""
    return {name: value for name, value in engine.health().items() if name != "breakers"}


class TestHealth:
    def test_an_engine_that_loads_on_demand_is_ready(self, fake_engine):
        """The first question pays the load."""
        assert said(fake_engine) == {"status": "ready", "ready": True, "reasons": []}

    def test_an_engine_that_preloads_is_starting_until_it_has(self, make_fake_engine):
        """Then ready, also after an unload."""
        engine = make_fake_engine(runtime_options={"fake": {"load_s": 0.2}})
        engine.preload()
        assert said(engine) == {
            "status": "starting",
            "ready": False,
            "reasons": ["the first model is being loaded"],
        }

        engine.load("conversation-agent")
        assert engine.health()["status"] == "ready"
        engine.unload("conversation-agent")
        assert engine.health()["status"] == "ready"

    def test_an_engine_whose_model_does_not_load_is_down(self, make_fake_engine):
        """With the reason a person can act on."""
        engine = make_fake_engine(runtime_options={"fake": {"load_fail": "no room"}})
        with pytest.raises(AgentLoadError):
            engine.load("conversation-agent")

        health = engine.health()
        assert (health["status"], health["ready"]) == ("down", False)
        assert "no room" in health["reasons"][0]

    def test_asking_for_a_model_that_is_not_here_says_nothing_of_the_engine(self, fake_engine):
        """Or anyone could take it out of service."""
        others = {agent.model for agent in fake_engine.registry.agents.values()}
        name = next(name for name in fake_engine.registry.models if name not in others)
        assert list(fake_engine.stream("hello", agent=name))[-1].type == "error"

        assert said(fake_engine) == {"status": "ready", "ready": True, "reasons": []}


class TestAgents:
    def test_the_five_agents_in_two_languages(self, fake_engine):
        """As plain values."""
        agents = fake_engine.agents()

        assert [agent["id"] for agent in agents] == list(fake_engine.registry.agents)
        assert {agent["id"] for agent in agents} == set(AGENT_IDS)
        for agent in agents:
            assert agent["model"] == MODEL
            assert set(agent["name"]) == set(agent["description"]) == {"en", "fr"}
            assert agent["examples"]["en"]

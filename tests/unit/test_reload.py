"""`models.json` read again: what is wrong keeps the old one, what is right takes over at once."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest

from orion.engine import Engine
from orion.errors import AgentLoadError, RegistryError, ShuttingDownError, UnknownAgentError
from orion.types import DeltaEvent, FinalEvent
from tests.unit.registry_support import EMBEDDED, spoilt
from tests.unit.reload_support import OWN, own_document, with_poet, written


@pytest.fixture
def document() -> dict[str, Any]:
    """The shipped registry, with a model of our own that the code agent uses."""
    return own_document()


@pytest.fixture
def file(tmp_path: Path, document: dict[str, Any]) -> Path:
    """Where the engine's registry lies."""
    return written(tmp_path / "models.json", document)


@pytest.fixture
def engine(make_fake_engine, file: Path) -> Engine:
    return make_fake_engine(registry=file, workers=2)


class TestReload:
    def test_the_same_file_changes_nothing(self, engine):
        """And ends no worker."""
        engine.load(EMBEDDED)
        workers = [worker["id"] for worker in engine.stats()["workers"]]

        told = engine.reload()

        assert (told["changed"], told["added"], told["removed"]) == ([], [], [])
        assert {EMBEDDED, OWN, "code-agent"} <= set(told["kept"])
        assert [worker["id"] for worker in engine.stats()["workers"]] == workers

    def test_a_new_agent_answers(self, engine, file, document):
        """It has breakers before anyone asks it, and stands in every list."""
        written(file, with_poet(document))

        told = engine.reload()

        assert told["added"] == ["poet"]
        assert "poet" in [agent["id"] for agent in engine.agents()]
        assert "generate:poet" in [breaker["name"] for breaker in engine.stats()["breakers"]]
        assert engine.ask("hello", agent="poet").agent == "poet"

    def test_a_removed_agent_is_unknown(self, engine, file, document):
        """Its breaker goes with it."""
        written(file, with_poet(document))
        engine.reload()
        engine.ask("hello", agent="poet")
        written(file, document)

        told = engine.reload()

        assert told["removed"] == ["poet"]
        assert "generate:poet" not in [breaker["name"] for breaker in engine.stats()["breakers"]]
        with pytest.raises(UnknownAgentError):
            engine.ask("hello", agent="poet")

    def test_a_changed_prompt_counts_from_the_next_request(self, engine, file, document):
        """Nothing is loaded for it."""
        loads = engine.stats()["workers"]
        written(file, spoilt(document, ("agents", "creative-agent", "system_prompt"), "Rhyme."))

        told = engine.reload()

        assert told["changed"] == ["creative-agent"]
        assert "Rhyme." in engine.ask("system?", agent="creative-agent").text
        assert loads == []

    def test_a_changed_model_is_loaded_anew(self, engine, file, document):
        """Once idle; what was held against it is forgotten, and others stay."""
        engine.load(EMBEDDED)
        engine.load(OWN)
        before = {worker["model"]: worker["id"] for worker in engine.stats()["workers"]}
        written(file, spoilt(document, ("custom_models", OWN, "context_tokens"), 512))

        engine.reload()
        answer = engine.ask("hello", agent="code-agent")

        after = {worker["model"]: worker for worker in engine.stats()["workers"]}
        assert answer.model == OWN
        assert after[OWN]["context_tokens"] == 512
        assert after[OWN]["id"] != before[OWN]
        assert after[EMBEDDED]["id"] == before[EMBEDDED]

    def test_what_an_operator_holds_open_stays_so(self, engine, file, document):
        """A breaker that the rules opened is closed: it knew another model."""
        engine.force_open(OWN)
        written(file, spoilt(document, ("custom_models", OWN, "context_tokens"), 512))

        engine.reload()

        modes = {breaker["name"]: breaker["mode"] for breaker in engine.stats()["breakers"]}
        assert modes[f"generate:{OWN}"] == "forced_open"

    def test_a_model_that_could_not_be_loaded_is_tried_again(
        self, make_fake_engine, file, document
    ):
        """At once, when its entry was put right."""
        engine = make_fake_engine(
            registry=file,
            workers=2,
            breaker={"failures": 1},
            runtime_options={"fake": {"load_fail": "broken"}},
        )
        with pytest.raises(AgentLoadError):
            engine.load(OWN)
        assert engine.health()["breakers"]["down"] == [f"load:{OWN}"]
        written(file, spoilt(document, ("custom_models", OWN, "context_tokens"), 512))

        engine.reload()

        assert f"load:{OWN}" not in engine.health()["breakers"]["down"]

    def test_stats_tell_what_is_in_force(self, engine, file, document):
        """By its hash, and since when."""
        before = engine.stats()["registry"]
        written(file, with_poet(document))

        told = engine.reload()

        after = engine.stats()["registry"]
        assert (before["reloads"], after["reloads"]) == (0, 1)
        assert before["sha256"] != after["sha256"] == told["registry_sha256"]
        assert after["loaded_at_s"] >= before["loaded_at_s"]
        assert after["file"] == "models.json"

    def test_an_engine_that_stops_reloads_nothing(self, engine):
        """It says so."""
        engine.shutdown(0.0)

        with pytest.raises(ShuttingDownError):
            engine.reload()


class TestRequestsUnderWay:
    def test_a_removed_agent_ends_its_answer(self, engine, file, document):
        """With its own model, though neither is in the registry any more."""
        own = with_poet(document)
        own["custom_models"]["poets-model"] = copy.deepcopy(own["models"][EMBEDDED])
        own["agents"]["poet"]["model"] = "poets-model"
        written(file, own)
        engine.reload()
        stream = engine.stream("tokens=40 delay=0.002", agent="poet")
        next(event for event in stream if isinstance(event, DeltaEvent))
        written(file, document)

        engine.reload()
        last = list(stream)[-1]

        assert isinstance(last, FinalEvent)
        assert (last.answer.agent, last.answer.model) == ("poet", "poets-model")
        assert last.answer.usage.completion_tokens == 40
        assert "poet" not in [agent["id"] for agent in engine.agents()]

    def test_a_request_that_waits_is_answered_though_its_model_has_gone(
        self, make_fake_engine, file, document
    ):
        """It keeps the registry it began with, and the model is loaded from that."""
        engine = make_fake_engine(registry=file, workers=1, worker={"spares": 0, "slots": 1})
        first = engine.stream("tokens=60 delay=0.002", agent="conversation-agent")
        next(event for event in first if isinstance(event, DeltaEvent))
        waiting = engine.stream("hello", agent="code-agent")
        next(waiting)
        done: list[Any] = []
        thread = threading.Thread(target=lambda: done.extend(waiting), daemon=True)
        thread.start()
        without = copy.deepcopy(document)
        without["agents"]["code-agent"]["model"] = EMBEDDED
        del without["custom_models"][OWN]
        written(file, without)

        told = engine.reload()
        list(first)
        thread.join(30)

        assert told["removed"] == [OWN]
        assert done[-1].answer.model in {OWN, EMBEDDED}
        assert engine.ask("hello", agent="code-agent").model == EMBEDDED

    def test_a_model_that_changes_while_it_loads(self, make_fake_engine, file, document):
        """Whoever waits for it is answered, and the next one by what is in force."""
        engine = make_fake_engine(
            registry=file, workers=2, runtime_options={"fake": {"load_s": 0.3}}
        )
        stream = engine.stream("hello", agent="code-agent")
        done: list[Any] = []
        thread = threading.Thread(target=lambda: done.extend(stream), daemon=True)
        thread.start()
        while not any(row["state"] == "loading" for row in engine.stats()["models"]):
            threading.Event().wait(0.005)
        written(file, spoilt(document, ("custom_models", OWN, "context_tokens"), 512))

        engine.reload()
        thread.join(30)
        engine.ask("hello", agent="code-agent")

        assert isinstance(done[-1], FinalEvent)
        held = {worker["model"]: worker for worker in engine.stats()["workers"]}
        assert held[OWN]["context_tokens"] == 512

    def test_who_asks_after_the_reload_is_not_answered_by_the_load_before_it(
        self, make_fake_engine, file, document
    ):
        """Nor is what it hears kept as the answer of what is in force."""
        engine = make_fake_engine(
            registry=file, workers=2, runtime_options={"fake": {"load_s": 0.3}}
        )
        before = engine.stream("hello", agent="code-agent")
        thread = threading.Thread(target=lambda: list(before), daemon=True)
        thread.start()
        while not any(row["state"] == "loading" for row in engine.stats()["models"]):
            threading.Event().wait(0.005)
        written(file, spoilt(document, ("custom_models", OWN, "context_tokens"), 512))
        engine.reload()

        stream = engine.stream("tokens=500 delay=0.01", agent="code-agent")
        next(event for event in stream if isinstance(event, DeltaEvent))

        held = {worker["model"]: worker for worker in engine.stats()["workers"]}
        assert held[OWN]["context_tokens"] == 512
        stream.close()
        thread.join(30)

    def test_what_another_entry_answered_is_not_kept(self, engine, file, document):
        """The entry changes while a request waits, and changes back."""
        given: dict[str, Any] = {"agent": "code-agent", "session": "s", "temperature": 0}
        changed = spoilt(document, ("custom_models", OWN, "context_tokens"), 512)
        stream = engine.stream("tokens=3 delay=0.01", **given)
        next(event for event in stream if isinstance(event, DeltaEvent))
        written(file, changed)
        engine.reload()
        assert isinstance(list(stream)[-1], FinalEvent)
        written(file, document)
        engine.reload()

        assert not engine.ask("tokens=3 delay=0.01", **given).cached
        assert engine.ask("tokens=3 delay=0.01", **given).cached


class TestUnderLoad:
    def test_a_hundred_reloads_fail_no_request(self, engine, file, document):
        """Prompts change, agents come and go, models move and are loaded anew."""
        versions = [
            document,
            with_poet(document, OWN),
            spoilt(document, ("agents", "code-agent", "model"), EMBEDDED),
            spoilt(document, ("agents", "reasoning-agent", "system_prompt"), "Be brief."),
            spoilt(document, ("custom_models", OWN, "context_tokens"), 1024),
        ]
        stop, failed, answered = threading.Event(), [], []

        def ask(agent: str) -> None:
            while not stop.is_set():
                for event in engine.stream("tokens=5 delay=0.001", agent=agent):
                    last = event
                (answered if isinstance(last, FinalEvent) else failed).append(last)

        agents = ("code-agent", "reasoning-agent", "auto", EMBEDDED)
        threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in agents]
        for thread in threads:
            thread.start()

        for turn in range(100):
            written(file, versions[turn % len(versions)])
            engine.reload()
        stop.set()
        for thread in threads:
            thread.join(30)

        assert failed == []
        assert len(answered) > len(agents)
        assert engine.stats()["registry"]["reloads"] == 100

    def test_reloads_at_once_are_done_one_after_the_other(self, engine, file, document):
        """Whoever comes last is in force; all of them succeed."""
        written(file, with_poet(document))
        told: list[dict[str, Any]] = []
        threads = [
            threading.Thread(target=lambda: told.append(engine.reload()), daemon=True)
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert [one["added"] for one in told].count(["poet"]) == 1
        assert engine.stats()["registry"]["reloads"] == 8


class TestPinned:
    def test_an_agents_name_pins_its_model(self, make_fake_engine, file):
        """As does the name of a model."""
        engine = make_fake_engine(registry=file, workers=2, memory={"pinned": ["code-agent"]})

        engine.load(OWN)

        assert [row["pinned"] for row in engine.stats()["models"]] == [True]

    def test_an_unknown_name_is_refused_at_the_start(self, make_fake_engine, file):
        """With the names there are."""
        with pytest.raises(RegistryError) as caught:
            make_fake_engine(registry=file, memory={"pinned": ["coder"]})

        assert "ORION_MEMORY__PINNED" in caught.value.public_message
        assert "code-agent" in caught.value.public_message

    def test_a_pin_follows_its_agent(self, make_fake_engine, file, document):
        """When a reload gives it another model."""
        engine = make_fake_engine(registry=file, workers=2, memory={"pinned": ["code-agent"]})
        engine.load(OWN)
        engine.load(EMBEDDED)
        written(file, spoilt(document, ("agents", "code-agent", "model"), EMBEDDED))

        engine.reload()
        engine.load(EMBEDDED)  # the dispatcher has heard of it once this is answered

        pins = {row["model"]: row["pinned"] for row in engine.stats()["models"]}
        assert pins == {OWN: False, EMBEDDED: True}

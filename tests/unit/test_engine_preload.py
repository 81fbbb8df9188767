"""Models that are loaded before they are asked for, through the whole engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orion.engine import Engine
from orion.errors import InvalidQueryError, UnknownAgentError
from orion.types import FinishReason
from tests.conftest import MakeEngine
from tests.fakes.two_models import FIRST, SECOND, write_two_models
from tests.process.test_worker_process import wait_for

CODE = "Write a Python function that reverses a string"


@pytest.fixture
def engine(make_fake_engine: MakeEngine, tmp_path: Path) -> Engine:
    """Two models, one place, loads that take a moment."""
    return make_fake_engine(
        registry=write_two_models(tmp_path),
        workers=1,
        answer_cache={"enabled": False},
        runtime_options={"fake": {"load_s": 0.1}},
    )


def resident(engine: Engine) -> list[str]:
    return [worker["model"] for worker in engine.stats()["workers"] if worker["state"] == "ready"]


def book(engine: Engine, kind: str) -> Any:
    return engine.stats()["preload"][kind]


class TestDraft:
    def test_a_draft_warms_the_model_it_would_go_to(self, engine: Engine) -> None:
        """The question then finds it, and the ledger says what that saved."""
        engine.ask("hello", agent="conversation-agent", session="tab")
        assert wait_for(lambda: resident(engine) == [FIRST])

        found = engine.draft(CODE, session="tab")
        assert (found["agent"], found["model"]) == ("code-agent", SECOND)
        assert (found["resident"], found["warming"]) == (False, True)
        assert wait_for(lambda: resident(engine) == [SECOND])
        assert engine.draft(CODE, session="tab")["resident"]
        answer = engine.ask(CODE, session="tab")

        assert answer.model == SECOND
        assert answer.timings.start == "warm"
        told = book(engine, "draft")
        assert (told["hits"], told["loads"], told["used"], told["wasted"]) == (1, 1, 1, 0)
        assert told["saved_s"] > 0

    def test_a_draft_that_came_to_nothing_is_paid_by_the_ledger(self, engine: Engine) -> None:
        """The last model had to be loaded again."""
        engine.ask("hello", agent="conversation-agent", session="tab")
        engine.draft(CODE, session="tab")
        assert wait_for(lambda: resident(engine) == [SECOND])

        engine.ask("hello", agent="conversation-agent", session="tab")

        told = book(engine, "draft")
        assert (told["baseline_hits"], told["wasted"]) == (1, 1)
        assert told["lost_s"] > 0

    def test_a_draft_leaves_no_trace(
        self, engine: Engine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Neither in the log nor in the figures."""
        engine.draft("my secret recipe in python", session="tab")

        said = json.dumps(engine.stats()) + engine.metrics.render().decode()
        out, err = capsys.readouterr()
        assert "secret" not in said + out + err
        assert engine.stats()["requests"]["in_flight"] == 0

    def test_a_chosen_agent_s_model_is_warmed(self, engine: Engine) -> None:
        """Whatever is typed."""
        found = engine.draft("hello there", session="tab", agent="code-agent")

        assert (found["agent"], found["confidence"], found["model"]) == ("code-agent", 1.0, SECOND)
        assert wait_for(lambda: resident(engine) == [SECOND])

    def test_nothing_is_warmed_while_somebody_is_answered(self, engine: Engine) -> None:
        """A guess never takes the machine from a request; it is made up for afterwards."""
        stream = engine.stream("tokens=2000 delay=0.005", agent="creative-agent", session="tab")
        for event in stream:
            if event.type == "delta":
                break

        engine.draft(CODE, session="tab")
        assert engine.draft(CODE, session="tab")["resident"] is False
        assert resident(engine) == [FIRST]
        stream.close()

        engine.ask("hello", agent="creative-agent", session="other")
        assert book(engine, "draft")["loads"] == 0

    def test_no_guess_begins_while_the_engine_ends(self, engine: Engine) -> None:
        """A place that becomes free then stays free."""
        engine.ask("hello", agent="conversation-agent", session="tab")
        engine.draft(CODE, session="tab")

        engine.shutdown(grace_s=0.0)

        assert engine.stats()["workers"] == []

    def test_what_could_not_be_sent_is_refused(self, engine: Engine) -> None:
        """As the message would be."""
        with pytest.raises(InvalidQueryError):
            engine.draft("   ", session="tab")
        with pytest.raises(UnknownAgentError):
            engine.draft("hello", session="tab", agent="nobody")


class TestHabits:
    def test_the_usual_next_model_is_there_when_the_question_comes(self, engine: Engine) -> None:
        """After some turns to and fro."""
        for _ in range(4):
            engine.ask("hello", agent="conversation-agent", session="tab")
            engine.ask("hello", agent="code-agent", session="tab")
        engine.ask("hello", agent="conversation-agent", session="tab")

        assert wait_for(lambda: resident(engine) == [SECOND])
        answer = engine.ask("hello", agent="code-agent", session="tab")

        assert answer.timings.start == "warm"
        assert answer.finish_reason is FinishReason.STOP
        assert book(engine, "transition")["used"] >= 1

    def test_switched_off_nothing_is_loaded_ahead(
        self, make_fake_engine: MakeEngine, tmp_path: Path
    ) -> None:
        """By the settings."""
        engine = make_fake_engine(
            registry=write_two_models(tmp_path), workers=1, prediction={"enabled": False}
        )
        engine.ask("hello", agent="conversation-agent", session="tab")

        found = engine.draft(CODE, session="tab")

        assert (found["resident"], found["warming"]) == (False, False)
        assert engine.stats()["preload"]["active"] is False

    def test_a_session_that_is_over_is_forgotten(self, engine: Engine) -> None:
        """Its predictions with it."""
        engine.draft(CODE, session="tab")
        engine.purge_session("tab")

        assert book(engine, "draft")["dropped"] == 1

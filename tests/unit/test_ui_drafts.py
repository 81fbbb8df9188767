"""The hint under the box."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from orion.errors import InvalidQueryError
from orion.types import AUTO
from orion.ui.drafts import Drafts, hint_html
from tests.fakes.engine import ScriptedEngine


class Refusing(ScriptedEngine):
    """Whatever is drafted goes wrong."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def draft(self, text: str, **given: Any) -> dict[str, Any]:
        raise self.error


def tab(language: str = "en") -> Any:
    return SimpleNamespace(session_hash="tab", headers={"accept-language": language})


def hint(engine: Any, draft: object, agent: str = AUTO, asked: Any = None) -> str:
    return Drafts(engine).hint(draft, agent, asked, tab())


class TestHint:
    def test_names_the_agent_how_surely_and_what_is_being_done(self) -> None:
        """In the reader's language."""
        engine: Any = ScriptedEngine()

        assert "→ code-agent, 87 % · warming its model<" in hint(engine, "def main():")
        french = Drafts(engine).hint("def main():", AUTO, None, tab("fr"))
        assert "→ code-agent, 87 % · préparation de son modèle<" in french

    def test_the_engine_gets_the_tab_and_the_question_before(self) -> None:
        """A follow-up goes where its question went."""
        engine = ScriptedEngine()

        hint(engine, "and in Rust?", asked={"text": "Sort a list in Python", "request_id": "r"})

        assert engine.asked == [
            (
                "draft",
                {
                    "text": "and in Rust?",
                    "session": "tab",
                    "agent": AUTO,
                    "history": [{"role": "user", "content": "Sort a list in Python"}],
                },
            )
        ]

    def test_nothing_is_said_when_the_person_chose(self) -> None:
        """The model is warmed all the same."""
        engine = ScriptedEngine()

        assert hint(engine, "a poem, please", agent="creative-agent") == ""
        assert engine.asked[0][1]["agent"] == "creative-agent"

    @pytest.mark.parametrize("draft", ["", "   ", None, 7, ["x"]])
    def test_an_empty_box_asks_nothing(self, draft: object) -> None:
        """It clears the hint."""
        engine = ScriptedEngine()

        assert hint(engine, draft) == ""
        assert engine.asked == []

    def test_a_refusal_is_silent(self) -> None:
        """What is being typed may be anything."""
        engine = Refusing(InvalidQueryError(field="message", reason="is odd"))

        assert hint(engine, "half a thought") == ""

    def test_a_failure_of_ours_is_logged_without_the_words(self) -> None:
        """Its kind is enough."""
        with structlog.testing.capture_logs() as lines:
            assert hint(Refusing(ValueError("half a thought")), "half a thought") == ""

        assert lines == [{"event": "draft.failed", "error": "ValueError", "log_level": "warning"}]

    def test_what_is_read_aloud_has_no_figures(self) -> None:
        """It would be read again for every percent."""
        found = {"agent": '<b>"', "confidence": 0.5, "warming": False}

        html = hint_html(found, "en")

        assert 'data-said="&lt;b&gt;&quot;"' in html
        assert ">→ &lt;b&gt;&quot;, 50 %<" in html

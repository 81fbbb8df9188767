"""The page when something goes wrong: told in the chat, and the next question is answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orion.errors import WorkerDiedError
from tests.conftest import MakeEngine
from tests.e2e.conftest import Serve, Tab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

OpenTab = Callable[..., Tab]


@pytest.fixture
def url(shared_url: str) -> str:
    """The page on the fake runtime."""
    return shared_url


class TestErrors:
    def test_a_failure_is_told_in_the_chat(self, url: str, open_tab: OpenTab) -> None:
        """What had arrived stays; code and message stand under it; the page goes on."""
        tab = open_tab(url)

        tab.ask("tokens=50 fail=20")
        tab.page.wait_for_selector("#chat .bot blockquote")
        said = tab.bubbles()

        assert "t19" in said[0]
        assert "generation_failed" in said[-1]
        assert "only a part" in said[-1]
        assert "Traceback" not in tab.page.inner_text("body")
        tab.page.wait_for_selector("#send")
        tab.ask("hello")
        tab.answered(1)
        assert tab.complaints == []

    def test_a_worker_that_dies_is_told_in_french(
        self, make_fake_engine: MakeEngine, serve: Serve, open_tab: OpenTab
    ) -> None:
        """A French browser gets French messages."""
        tab = open_tab(serve(make_fake_engine(executor="spawn")), locale="fr-FR")

        tab.ask("tokens=50 die=20")
        tab.page.wait_for_selector("#chat .bot blockquote")

        assert WorkerDiedError.code in tab.bubbles()[-1]
        assert tab.bubbles()[-1].startswith("Erreur")

    @pytest.mark.parametrize(
        ("locale", "words", "state"),
        [
            ("en-US", "in place of code-agent", "fallback"),
            ("fr-FR", "à la place de code-agent", "repli"),
        ],
    )
    def test_a_fallback_is_told_under_the_answer_and_in_the_chain(
        self,
        make_fake_engine: MakeEngine,
        serve: Serve,
        open_tab: OpenTab,
        *,
        locale: str,
        words: str,
        state: str,
    ) -> None:
        """Who answered in place of whom, in the reader's language; also after a reload."""
        engine = make_fake_engine()
        engine.force_open("code-agent")
        tab = open_tab(serve(engine), locale=locale)
        tab.page.click("#agent input")
        tab.page.click("#agent [role=option]:has-text('code-agent')")

        tab.ask("hello")
        tab.answered(1)

        notes = tab.notes()
        assert words in notes[0].split("\n")[0].split(" · ")[0]
        assert tab.bubbles() == ["echo: hello"]
        walked = tab.page.inner_text("#chain").replace("\n", " ")
        assert state in walked
        assert tab.page.get_attribute("#chain li[aria-current]", "data-state") == "success"
        tab.page.reload()
        tab.answered(1)
        assert tab.notes() == notes
        assert tab.complaints == []

    def test_a_worker_that_is_killed_before_it_speaks_is_replaced(
        self, make_fake_engine: MakeEngine, serve: Serve, open_tab: OpenTab
    ) -> None:
        """The question is answered by another agent, and so is the next one."""
        engine = make_fake_engine(executor="spawn", faults=True)
        engine.inject_fault("creative-agent", "kill")
        tab = open_tab(serve(engine))
        tab.page.click("#agent input")
        tab.page.click("#agent [role=option]:has-text('creative-agent')")

        tab.ask("hello")
        tab.answered(1)
        tab.ask("and now?")
        tab.answered(2)

        first, second = tab.notes()
        assert "in place of creative-agent" in first
        assert second.startswith("creative-agent · ")
        assert tab.bubbles() == ["echo: hello", "echo: and now?"]
        assert engine.stats()["deaths"] == 1
        assert tab.complaints == []

    def test_a_megabyte_is_refused_politely(self, url: str, open_tab: OpenTab) -> None:
        """With the limit, and without keeping it."""
        tab = open_tab(url)

        tab.ask("x" * 1_000_000)
        tab.page.wait_for_selector("#chat .bot blockquote")

        assert "too_large" in tab.bubbles()[-1]
        assert len(tab.bubbles("user")[0]) < 3_000

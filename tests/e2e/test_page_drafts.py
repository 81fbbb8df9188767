"""What the page does while somebody types, and what it says of waiting and of known answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orion.engine import Engine
from tests.conftest import MakeEngine
from tests.e2e.conftest import Serve, Tab
from tests.fakes.two_models import SECOND, write_two_models
from tests.process.test_worker_process import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

OpenTab = Callable[..., Tab]
CODE = "Write a Python function that reverses a string"
BOX = "#box textarea"
HINT = "#hint .hint"


@pytest.fixture
def engine(make_fake_engine: MakeEngine, tmp_path: Path) -> Engine:
    """One place, one answer at a time, and a model of its own for the code agent."""
    made = make_fake_engine(
        registry=write_two_models(tmp_path),
        workers=1,
        worker={"spares": 0, "slots": 1},
        log={"level": "DEBUG", "format": "json"},
    )
    made.load("conversation-agent")
    return made


@pytest.fixture
def tab(engine: Engine, serve: Serve, open_tab: OpenTab) -> Iterator[Tab]:
    """The page of `engine`; closed before the engine is."""
    opened = open_tab(serve(engine))
    yield opened
    opened.page.goto("about:blank")


def posted(tab: Tab) -> list[str]:
    """The bodies of what the page sends from now on."""
    bodies: list[str] = []
    tab.page.on("request", lambda request: bodies.append(request.post_data or ""))
    return bodies


class TestDrafts:
    def test_a_pause_in_typing_shows_where_it_would_go_and_warms_it(
        self, tab: Tab, engine: Engine
    ) -> None:
        """One call for all the keys; the focus and the text stay where they were."""
        bodies = posted(tab)

        tab.page.click(BOX)
        tab.page.keyboard.type(CODE, delay=15)
        tab.page.wait_for_selector(HINT)

        assert tab.page.inner_text(HINT).startswith("→ code-agent, 84 %")
        assert wait_for(lambda: [row["model"] for row in engine.stats()["workers"]] == [SECOND])
        assert sum("Python" in body for body in bodies) == 1
        assert tab.page.input_value(BOX) == CODE
        assert tab.page.evaluate("document.activeElement.closest('#box') !== null")
        assert tab.page.inner_text(".said").startswith("code-agent")

        tab.page.keyboard.press("Enter")
        tab.answered(1)

        assert tab.page.locator(HINT).count() == 0
        assert tab.page.inner_text(".said") == ""
        assert tab.notes()[0].startswith(f"code-agent · {SECOND}")
        assert "(warm)" in tab.notes()[0]
        assert tab.complaints == []

    def test_enter_right_after_typing_sends_no_draft(self, tab: Tab) -> None:
        """Nothing waits for the hint, and none comes afterwards."""
        bodies = posted(tab)

        tab.page.click(BOX)
        tab.page.keyboard.type(CODE, delay=5)
        tab.page.keyboard.press("Enter")
        tab.answered(1)
        tab.page.wait_for_timeout(500)

        assert tab.bubbles("user") == [CODE]
        assert tab.page.locator(HINT).count() == 0
        assert sum('"auto",null]' in body for body in bodies) == 0

    def test_a_few_letters_are_no_draft(self, tab: Tab, engine: Engine) -> None:
        """And taking letters away takes the hint away."""
        tab.page.fill(BOX, CODE)
        tab.page.wait_for_selector(HINT)

        tab.page.fill(BOX, "python")

        tab.page.wait_for_selector(HINT, state="detached")

    def test_a_chosen_agent_s_model_is_warmed_without_a_word(
        self, tab: Tab, engine: Engine
    ) -> None:
        """The router has no say."""
        tab.page.click("#agent input")
        tab.page.click("#agent [role=option]:has-text('code-agent')")

        tab.page.fill(BOX, "tell me about the sea")

        assert wait_for(lambda: [row["model"] for row in engine.stats()["workers"]] == [SECOND])
        assert tab.page.locator(HINT).count() == 0

    def test_a_draft_is_never_logged(
        self, tab: Tab, engine: Engine, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Neither by the engine nor by what serves the page."""
        tab.page.fill(BOX, "a Python function for my secret recipe")
        tab.page.wait_for_selector(HINT)
        tab.page.fill(BOX, "")
        tab.page.wait_for_selector(HINT, state="detached")

        out, err = capfd.readouterr()
        assert "secret" not in out + err
        assert "secret" not in engine.metrics.render().decode() + str(engine.stats())

    def test_switched_off_nothing_listens(
        self, make_fake_engine: MakeEngine, serve: Serve, open_tab: OpenTab
    ) -> None:
        """No request leaves the page while one types."""
        engine = make_fake_engine(prediction={"drafts": False})
        tab = open_tab(serve(engine))
        bodies = posted(tab)

        tab.page.fill(BOX, CODE)
        tab.page.wait_for_timeout(600)

        assert not any("Python" in body for body in bodies)


class TestWaiting:
    def test_the_place_in_the_queue_is_told_with_the_wait(self, tab: Tab, engine: Engine) -> None:
        """While others are answered."""
        engine.ask("tokens=20 delay=0.02", agent="creative-agent")
        streams = [
            engine.stream("tokens=5000 delay=0.01", agent="creative-agent", session=f"s{index}")
            for index in range(2)
        ]
        threads = [threading.Thread(target=list, args=(stream,)) for stream in streams]
        ids = [next(iter(stream)).request_id for stream in streams]
        for thread in threads:
            thread.start()
        assert wait_for(lambda: engine.stats()["queue"]["waiting"] == 1)

        tab.ask("hello")
        tab.page.wait_for_selector("#chain .wait:has-text('waiting, place 2')")

        assert "about " in tab.page.inner_text("#chain .wait")
        assert "so far" in tab.page.inner_text("#chain .wait")
        for request_id in ids:
            engine.cancel(request_id)
        for thread in threads:
            thread.join()
        tab.answered(1)


class TestKnownAnswers:
    def test_the_same_question_again_is_answered_from_the_cache(
        self, tab: Tab, engine: Engine
    ) -> None:
        """With the age of the answer; another tab does not get it."""
        tab.set("temperature", "0")
        tab.ask("hello")
        tab.answered(1)
        tab.page.click("#new")
        tab.page.wait_for_selector("#chat .example")

        tab.ask("hello")
        tab.answered(1)

        assert "from the cache" in tab.notes()[0]
        assert " s old" in tab.notes()[0]
        assert tab.bubbles() == ["echo: hello"]
        assert engine.stats()["answer_cache"]["hits"] == 1

    def test_a_tab_that_is_gone_takes_its_answers_along(self, tab: Tab, engine: Engine) -> None:
        """Nothing of it can be asked for again."""
        tab.set("temperature", "0")
        tab.ask("hello")
        tab.answered(1)
        assert engine.stats()["answer_cache"]["entries"] == 1

        tab.page.goto("about:blank")

        assert wait_for(lambda: engine.stats()["answer_cache"]["entries"] == 0)

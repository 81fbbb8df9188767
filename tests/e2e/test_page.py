"""The page in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orion.engine import Engine
from tests.conftest import MakeEngine
from tests.e2e.conftest import Serve, Tab
from tests.process.test_worker_process import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

OpenTab = Callable[..., Tab]


def num_tokens(engine: Engine) -> int:
    """What the worker's own counter says."""
    return sum(worker["num_tokens"] for worker in engine.stats()["workers"])


@pytest.fixture
def url(shared_url: str) -> str:
    """The page on the fake runtime."""
    return shared_url


class TestRealAnswers:
    def test_two_questions_are_answered_by_two_agents(
        self, real_engine: Engine, serve: Serve, open_tab: OpenTab
    ) -> None:
        """The questions of the README, streamed by the embedded model, with who answered."""
        tab = open_tab(serve(real_engine))
        tab.set("max-tokens", "40")

        tab.ask("Write a Python function that reverses a string")
        tab.answered(1)
        tab.ask("Bonjour, qui es-tu ?")
        tab.answered(2)

        first, second = tab.notes()
        assert first.startswith("code-agent · smollm2-135m-instruct · llamacpp")
        assert second.startswith("conversation-agent · smollm2-135m-instruct · llamacpp")
        assert all(word in first for word in ("tokens/s", "first text", "Why this agent"))
        assert len(tab.bubbles("user")) == 2
        assert all(len(text) > 20 for text in tab.bubbles("bot"))
        assert tab.page.get_attribute("#chain li[aria-current]", "data-state") == "success"
        assert tab.complaints == []
        assert tab.foreign() == []

    def test_stop_ends_the_compute(
        self, real_engine: Engine, serve: Serve, open_tab: OpenTab
    ) -> None:
        """Half a second after the click the worker's token counter stands still."""
        tab = open_tab(serve(real_engine))
        before = num_tokens(real_engine)
        tab.ask("Tell me a very long story about the sea, with many chapters.")
        tab.page.wait_for_function(
            "document.querySelector('#chat .bot .message-content')?.innerText.length > 30"
        )

        tab.page.click("#stop")
        tab.page.wait_for_timeout(500)
        stopped = num_tokens(real_engine)
        tab.page.wait_for_timeout(700)

        assert num_tokens(real_engine) == stopped > before
        tab.answered(1)
        assert tab.notes()[0].split("\n")[0].endswith("stopped")
        assert len(tab.bubbles()[0]) > 30


class TestStreaming:
    def test_the_answer_grows_while_it_is_made(self, url: str, open_tab: OpenTab) -> None:
        """Text is on the page long before the end, and Stop keeps it."""
        tab = open_tab(url)

        tab.ask("tokens=5000 delay=0.01")
        tab.page.wait_for_function(
            "document.querySelector('#chat .bot .message-content')?.innerText.includes('t9 ')"
        )
        assert tab.page.get_attribute("#chain li[aria-current]", "data-state") == "inferencing"
        tab.page.click("#stop")
        tab.answered(1)

        assert tab.bubbles()[0].startswith("t0 t1 t2")
        assert tab.page.get_attribute("#chain li[aria-current]", "data-state") == "cancelled"
        assert tab.complaints == []

    def test_a_second_message_waits_in_its_box(self, url: str, open_tab: OpenTab) -> None:
        """Enter during an answer neither sends nor loses it."""
        tab = open_tab(url)
        tab.ask("tokens=5000 delay=0.01")
        tab.page.wait_for_selector("#stop")

        tab.ask("next question")
        tab.page.click("#stop")
        tab.answered(1)

        assert tab.page.input_value("#box textarea") == "next question"
        assert len(tab.bubbles("user")) == 1

    def test_closing_the_tab_ends_the_request(
        self, shared_engine: Engine, url: str, open_tab: OpenTab
    ) -> None:
        """Nobody reads it any more."""
        tab = open_tab(url)
        tab.ask("tokens=5000 delay=0.01")
        assert wait_for(lambda: shared_engine.stats()["requests"]["in_flight"] == 1)

        tab.page.goto("about:blank")

        assert wait_for(lambda: shared_engine.stats()["requests"]["in_flight"] == 0)

    def test_a_stopped_answer_is_shown_after_a_reload_and_never_sent_again(
        self, shared_engine: Engine, url: str, open_tab: OpenTab
    ) -> None:
        """It stays readable, marked as stopped; the next question goes without it."""
        tab = open_tab(url)
        tab.ask("tokens=5000 delay=0.01")
        tab.page.wait_for_function(
            "document.querySelector('#chat .bot .message-content')?.innerText.includes('t9 ')"
        )
        tab.page.click("#stop")
        tab.answered(1)

        tab.page.reload()
        tab.answered(1)
        tab.ask("and now")
        tab.answered(2)

        first, second = tab.notes()
        assert tab.bubbles()[0].startswith("t0 t1 t2")
        assert first.split("\n")[0].endswith("stopped")
        prompt = shared_engine.registry.agent("conversation-agent").prompt_for("en")
        words = len(prompt.split()) + len(["and", "now"])
        tab.page.click("#chat .thought-group >> nth=1")
        assert f"{words} read" in tab.page.inner_text("#chat")
        assert second.startswith("conversation-agent")

    def test_a_new_chat_ends_the_request(
        self, shared_engine: Engine, url: str, open_tab: OpenTab
    ) -> None:
        """And nothing of it comes back."""
        tab = open_tab(url)
        tab.ask("tokens=5000 delay=0.01")
        assert wait_for(lambda: shared_engine.stats()["requests"]["in_flight"] == 1)

        tab.page.click("#new")

        assert wait_for(lambda: shared_engine.stats()["requests"]["in_flight"] == 0)
        tab.page.reload()
        tab.page.wait_for_selector("#chat .example")
        assert tab.bubbles() == []


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            "a<b and c>d",
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "</textarea><b>bold?</b>",
            "vector<int> and x < y",
            "I paid $5 and $10",
            "👨‍👩‍👧 שלום עולם",
        ],
    )
    def test_what_is_typed_is_what_is_shown(self, url: str, open_tab: OpenTab, text: str) -> None:
        """In the question and in the answer that repeats it; nothing runs."""
        tab = open_tab(url)

        tab.ask(text)
        tab.answered(1)

        assert tab.bubbles("user") == [text]
        assert tab.bubbles()[0] == f"echo: {text}"
        assert tab.complaints == []
        assert tab.foreign() == []

    def test_code_and_formulas_are_rendered(self, url: str, open_tab: OpenTab) -> None:
        """A fence with HTML stays code, `$…$` becomes a formula, `$$` in code does not."""
        tab = open_tab(url)

        tab.page.fill("#box textarea", "\n\n```html\n<b>$x$ $$</b>\n```\n\n$x^2$ and `$$`")
        tab.page.press("#box textarea", "Enter")
        tab.answered(1)

        bot = "#chat .bot .message-content"
        assert tab.page.inner_text(f"{bot} pre code").strip() == "<b>$x$ $$</b>"
        assert tab.page.locator(f"{bot} .katex").count() == 1
        assert tab.page.inner_text(f"{bot} p code") == "$$"

    def test_an_image_in_an_answer_fetches_nothing(self, url: str, open_tab: OpenTab) -> None:
        """Its address could carry the conversation away."""
        tab = open_tab(url)

        tab.ask("![x](https://example.org/x.png)")
        tab.answered(1)

        assert tab.foreign() == []
        assert tab.page.locator("#chat .bot img").count() == 0

    def test_the_browser_keeps_to_this_host(self, url: str, open_tab: OpenTab) -> None:
        """Should anything slip through, the page's policy stops it."""
        tab = open_tab(url)

        blocked = tab.page.evaluate(
            """() => new Promise(resolve => {
                const name = "securitypolicyviolation";
                document.addEventListener(name, event => resolve(event.blockedURI));
                new Image().src = "https://example.org/x.png";
            })"""
        )

        assert blocked == "https://example.org/x.png"


class TestSteering:
    def test_an_agent_can_be_chosen(self, url: str, open_tab: OpenTab) -> None:
        """The note says that the person did."""
        tab = open_tab(url)

        tab.page.click("#agent input")
        tab.page.click("#agent [role=option]:has-text('creative-agent')")
        tab.ask("hello")
        tab.answered(1)

        assert tab.notes()[0].startswith("creative-agent")
        assert "chosen by you" in tab.notes()[0]

    def test_settings_reach_the_model(self, url: str, open_tab: OpenTab) -> None:
        """Three tokens at most are three tokens."""
        tab = open_tab(url)

        tab.set("max-tokens", "3")
        tab.ask("tokens=50")
        tab.answered(1)

        assert tab.bubbles()[0].split() == ["t0", "t1", "t2"]
        assert "cut at the token limit" in tab.notes()[0]

    @pytest.mark.parametrize("value", ["99", "warm"])
    def test_a_bad_setting_is_explained(self, url: str, open_tab: OpenTab, value: str) -> None:
        """In the chat, with its name."""
        tab = open_tab(url)

        tab.set("temperature", value)
        tab.ask("hello")
        tab.page.wait_for_selector("#chat .bot blockquote")

        assert "temperature" in tab.bubbles()[-1]

    def test_a_new_chat_forgets(self, url: str, open_tab: OpenTab) -> None:
        """On the page and after a reload."""
        tab = open_tab(url)
        tab.ask("hello")
        tab.answered(1)

        tab.page.click("#new")
        tab.page.wait_for_selector("#chat .example")
        tab.page.reload()
        tab.page.wait_for_selector("#status .status")

        assert tab.page.locator("#chat .message").count() == 0

    def test_a_conversation_survives_a_reload(self, url: str, open_tab: OpenTab) -> None:
        """Answer and facts are there again."""
        tab = open_tab(url)
        tab.ask("hello <b>")
        tab.answered(1)
        notes = tab.notes()

        tab.page.reload()
        tab.answered(1)

        assert tab.bubbles() == ["echo: hello <b>"]
        assert tab.notes() == notes

    def test_an_example_asks_itself(self, url: str, open_tab: OpenTab) -> None:
        """One click is enough."""
        tab = open_tab(url)

        tab.page.click("#chat .example >> nth=1")
        tab.answered(1)

        assert tab.bubbles("user") == ["Write a Python function that reverses a string."]


class TestStatusLine:
    def test_follows_what_is_in_memory(
        self, make_fake_engine: MakeEngine, serve: Serve, open_tab: OpenTab
    ) -> None:
        """Without a reload."""
        tab = open_tab(serve(make_fake_engine()))
        assert "no model in memory" in tab.page.inner_text("#status")

        tab.ask("hello")

        tab.page.wait_for_selector(
            "#status :text('in memory: smollm2-135m-instruct')", timeout=9_000
        )


class TestLooks:
    @pytest.mark.parametrize("width", [360, 1280])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_nothing_scrolls_sideways(
        self, url: str, open_tab: OpenTab, width: int, scheme: Any
    ) -> None:
        """Empty and full, on a phone and on a desktop."""
        tab = open_tab(url, viewport={"width": width, "height": 740}, color_scheme=scheme)
        wide = "document.documentElement.scrollWidth > window.innerWidth"
        assert not tab.page.evaluate(wide)

        tab.ask("```\n" + "long_code_line " * 40 + "\n```\n" + "w" * 300)
        tab.answered(1)

        assert not tab.page.evaluate(wide)

    def test_speaks_french_to_the_french(self, url: str, open_tab: OpenTab) -> None:
        """Labels, examples, agents, states."""
        tab = open_tab(url, locale="fr-FR")

        assert tab.page.inner_text("#send").strip() == "Envoyer"
        assert tab.page.input_value("#agent input").startswith("auto : le routeur")
        assert "vérification" in tab.page.inner_text("#chain")
        assert "qui es-tu" in tab.page.inner_text("#chat")
        assert tab.page.evaluate("document.documentElement.lang") == "fr"

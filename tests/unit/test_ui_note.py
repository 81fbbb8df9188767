"""The lines around an answer."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orion.registry import load_registry
from orion.settings import PACKAGE_ROOT
from orion.types import ProgressEvent, RequestState
from orion.ui import note, view
from orion.ui.conversation import AnswerFacts, Conversation, Failure, Turn

REGISTRY = load_registry(PACKAGE_ROOT / "models.json")


def facts(**given: Any) -> AnswerFacts:
    base: dict[str, Any] = {
        "agent": "code-agent",
        "model": "small_model",
        "runtime": "llamacpp",
        "finish_reason": "stop",
        "route": {"reason": "“python” for code-agent", "confidence": 0.914},
        "timings": {
            "ttft_s": 0.21,
            "tokens_per_s": 91.4,
            "load_s": 1.5,
            "total_s": 2,
            "start": "cold",
        },
        "usage": {"prompt_tokens": 30, "cached_tokens": 10, "completion_tokens": 87},
        "states": ["validating", "success"],
    }
    return AnswerFacts.model_validate({**base, **given})


def shown_states(html: str) -> list[str]:
    return re.findall(r'data-state="(\w+)"', html)


class TestHeadline:
    def test_says_who_how_much_and_how_fast(self) -> None:
        """One line, in the reader's language."""
        assert note.headline(facts(), "en") == (
            "code-agent · small_model · llamacpp · 87 tokens · 91 tokens/s"
            " · first text 210 ms (cold)"
        )
        assert "premier texte 210 ms (à froid)" in note.headline(facts(), "fr")

    def test_says_what_was_special(self) -> None:
        """Cut, from the cache."""
        line = note.headline(facts(finish_reason="length", cached=True), "en")

        assert line.endswith("cut at the token limit · from the cache")

    @pytest.mark.parametrize(
        ("age_s", "english", "french"),
        [
            (0.0, "together with the same question", "avec la même question déjà posée"),
            (0.2, "from the cache, 1 s old", "depuis le cache, réponse d'il y a 1 s"),
            (125.0, "from the cache, 2 min old", "depuis le cache, réponse d'il y a 2 min"),
        ],
    )
    def test_says_how_old_a_cached_answer_is(self, age_s: float, english: str, french: str) -> None:
        """Or that it was being made for somebody else."""
        cached = facts(cached=True, cached_age_s=age_s)

        assert note.headline(cached, "en").endswith(english)
        assert note.headline(cached, "fr").endswith(french)

    def test_one_token_is_one_token(self) -> None:
        """In French none is singular too."""
        one, none = facts(usage={"completion_tokens": 1}), facts(usage={})

        assert " 1 token ·" in note.headline(one, "en")
        assert " 0 tokens ·" in note.headline(none, "en")
        assert " 0 jeton ·" in note.headline(none, "fr")

    @pytest.mark.parametrize(
        ("locale", "who"),
        [
            ("en", "creative-agent, in place of code-agent · small_model"),
            ("fr", "creative-agent, à la place de code-agent · small_model"),
        ],
    )
    def test_says_who_answered_in_place_of_whom(self, locale: str, who: str) -> None:
        """First of all, in the reader's language."""
        line = note.headline(facts(agent="creative-agent", fallback_from="code-agent"), locale)

        assert line.startswith(who)

    def test_leaves_out_what_is_not_known(self) -> None:
        """An answer without text has no first text and no speed."""
        assert note.headline(facts(timings={}), "en").endswith("87 tokens")

    def test_slow_speeds_keep_a_decimal(self) -> None:
        """3.4 tokens/s is not 3."""
        assert "3.4 tokens/s" in note.headline(facts(timings={"tokens_per_s": 3.42}), "en")


class TestWhy:
    def test_gives_the_router_s_reason(self) -> None:
        """With its confidence."""
        assert note.why(facts(), "en").endswith("“python” for code-agent (confidence 91 %)")

    def test_says_when_the_person_chose(self) -> None:
        """The router had no say."""
        assert note.why(facts(chosen=True), "fr").endswith("choisi par vous")

    @pytest.mark.parametrize(
        ("locale", "start"),
        [("en", "First choice code-agent: “"), ("fr", "Premier choix code-agent : “")],
    )
    def test_after_a_fallback_it_is_about_the_first_choice(self, locale: str, start: str) -> None:
        """The reason was never one for the agent that took over."""
        told = note.why(facts(agent="creative-agent", fallback_from="code-agent"), locale)

        assert told.startswith(start)


class TestDetails:
    def test_tell_times_tokens_and_path(self) -> None:
        """Only the times that count for something."""
        text = note.details(facts(), "en")

        assert "load 1\\.5 s" in text
        assert "queue" not in text
        assert "30 read, 10 of them from memory, 87 written" in text
        assert "validating → done" in text


class TestFailureText:
    def test_names_the_code_and_what_to_do(self) -> None:
        """The message is shown as it is, whatever stands in it."""
        failure = Failure(code="worker_died", message="m*x* <b>\nended", retryable=True)

        text = note.failure_text(failure, "en", partial=True)

        assert "(`worker_died`)" in text
        assert "m\\*x\\* \\<b\\> ended" in text
        assert "had arrived before" in text
        assert "send the message again" in text

    def test_a_code_from_the_store_cannot_leave_its_place(self) -> None:
        """Only letters, digits, - and _."""
        assert "(`ab`)" in note.failure_text(Failure(code="a`<b", message="m"), "en", partial=False)


class TestChain:
    def test_marks_the_current_state(self) -> None:
        """Gone, current and coming states can be told apart, also without colours."""
        html = note.chain_html([RequestState.VALIDATING, RequestState.ROUTING], None, "en")

        assert html.count("<li") == 6
        assert 'data-state="routing" aria-current="step">routing' in html
        assert 'class="done validating"' in html
        assert 'class="next success"' in html

    def test_ends_where_the_request_ended(self) -> None:
        """After an error nothing is still to come."""
        html = note.chain_html([RequestState.VALIDATING, RequestState.ERROR], None, "en")

        assert html.count("<li") == 2

    def test_a_fallback_begins_the_load_anew(self) -> None:
        """What was walked before it stays; loading and answering are ahead once more."""
        before = [
            RequestState.VALIDATING,
            RequestState.ROUTING,
            RequestState.CACHE_LOOKUP,
            RequestState.LOADING_AGENT,
            RequestState.INFERENCING,
            RequestState.FALLBACK,
        ]

        fallen = note.chain_html(before, None, "en")
        again = note.chain_html([*before, RequestState.LOADING_AGENT], None, "en")

        assert shown_states(fallen)[6:] == ["loading_agent", "inferencing", "success"]
        assert shown_states(again)[6:] == ["loading_agent", "inferencing", "success"]
        assert 'class="now fallback"' in fallen
        assert again.count('aria-current="step"') == 1
        assert again.index('class="now loading_agent"') > again.index("fallback")

    def test_an_end_after_a_fallback_is_the_end(self) -> None:
        """Nothing is ahead of it."""
        states = [RequestState.FALLBACK, RequestState.LOADING_AGENT, RequestState.ERROR]

        assert shown_states(note.chain_html(states, None, "en")) == [str(state) for state in states]

    def test_shows_a_load_s_progress(self) -> None:
        """How far, what for, how long already; escaped."""
        progress = ProgressEvent(request_id="r", phase="<b>", elapsed_s=2.2, ratio=0.25)

        html = note.chain_html([RequestState.LOADING_AGENT], progress, "en")

        assert '<progress max="1" value="0.250">' in html
        assert "&lt;b&gt; · 25%, 2 s" in html

    def test_shows_the_place_in_the_queue(self) -> None:
        """Where it is known."""
        progress = ProgressEvent(request_id="r", phase="queue", elapsed_s=1, position=3)

        assert note.phase_text(progress, "fr") == "en attente, place 3"

    def test_shows_the_estimated_wait(self) -> None:
        """Beside what has been waited, which is not to be mistaken for it."""
        progress = ProgressEvent(
            request_id="r", phase="queue", elapsed_s=4.2, position=3, wait_s=11.8
        )

        assert note.phase_text(progress, "fr") == "en attente, place 3, environ 12 s"
        html = note.chain_html([RequestState.LOADING_AGENT], progress, "en")
        assert "waiting, place 3, about 12 s, 4 s so far<" in html


class TestStatus:
    @pytest.mark.parametrize(
        ("workers", "expected"),
        [
            ([], "no model in memory"),
            ([{"model": "m1", "state": "loading"}], "loading m1"),
            ([{"model": "m1", "state": "ready"}, {"model": None}], "in memory: m1"),
        ],
    )
    def test_says_what_is_in_memory(self, workers: list[Any], expected: str) -> None:
        """Spare workers hold nothing."""
        html = note.status_html({"status": "ready"}, {"workers": workers}, "en")

        assert expected in html
        assert 'class="status ready"' in html

    def test_escapes_reasons_and_counts_who_waits(self) -> None:
        """Reasons come from errors."""
        html = note.status_html(
            {"status": "down", "reasons": ["<b>"]}, {"queue": {"waiting": 2}}, "en"
        )

        assert "2 waiting · &lt;b&gt;" in html

    def test_names_who_is_paused_in_the_reader_s_language(self) -> None:
        """Once each, and not again in the engine's words."""
        down = ["generate:code-agent", "load:code-agent"]
        health = {
            "status": "degraded",
            "reasons": ["the breaker generate:code-agent is open", "the disk is full"],
            "breakers": {"healthy": [], "degraded": [], "down": down},
        }

        line = note.status_html(health, {}, "fr")

        assert "en pause après des échecs : code-agent · the disk is full<" in line
        assert "breaker" not in line


class TestView:
    def test_shows_every_turn(self) -> None:
        """Question, answer, failure, facts: in this order."""
        failure = Failure(code="worker_died", message="gone")
        turn = Turn(question="q", answer="a<b>", facts=facts(), failure=failure)

        shown = view.messages(Conversation(turns=(turn,)), "en")

        assert [message["role"] for message in shown] == ["user", *["assistant"] * 3]
        assert shown[1]["content"] == [{"type": "text", "text": "a\\<b>"}]
        assert shown[3]["metadata"]["title"].startswith("code\\-agent · small\\_model")

    @pytest.mark.parametrize("locale", ["en", "fr"])
    def test_offers_every_agent_and_an_example_of_each(self, locale: str) -> None:
        """In the reader's language, `auto` first."""
        choices = view.agent_choices(REGISTRY, locale)

        assert [agent_id for _, agent_id in choices] == ["auto", *REGISTRY.agents]
        assert len(view.examples(REGISTRY, locale)) == len(REGISTRY.agents)

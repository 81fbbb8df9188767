"""The baseline router: telling words, honest doubts, and any text at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.registry import AGENT_IDS, CONVERSATION_AGENT
from orion.routing import KeywordRouter
from orion.routing.language import fold, guess_language
from orion.types import Message, Role

ROUTER = KeywordRouter()

CLEAR = [
    ("Write a Python function that reverses a string", "code-agent"),
    ("Écris une fonction Python qui inverse une chaîne", "code-agent"),
    ("def f(x):\n    return x == 1", "code-agent"),
    ("How many apples are left if 3 of 12 are eaten? Step by step.", "reasoning-agent"),
    ("Combien de temps met un train à 80 km/h pour 200 km ? Étape par étape.", "reasoning-agent"),
    ("Write a haiku about rain", "creative-agent"),
    ("Écris un poème sur la mer", "creative-agent"),
    ("Translate into Spanish: good night", "multilingual-agent"),
    ("Comment dit-on « merci » en japonais ?", "multilingual-agent"),
    ("¿Cómo estás hoy?", "multilingual-agent"),
    ("今日はいい天気ですね", "multilingual-agent"),
    ("Wie komme ich zum Bahnhof, bitte?", "multilingual-agent"),
    ("Hello, how are you?", CONVERSATION_AGENT),
    ("Bonjour, qui es-tu ?", CONVERSATION_AGENT),
    ("Où passer le code de la route ?", CONVERSATION_AGENT),
]


def turn(role: Role, content: str) -> Message:
    return Message(role=role, content=content)


class TestRoute:
    @pytest.mark.parametrize(("text", "agent"), CLEAR)
    def test_a_clear_message_finds_its_agent(self, text, agent):
        """In English and in French, by words, phrases, marks or language."""
        assert ROUTER.route(text).agent == agent

    def test_a_route_says_which_router_made_it(self):
        """The baseline does not pass for more."""
        assert ROUTER.route("hello").router == ROUTER.name == "keyword-baseline"

    def test_a_reason_names_the_word(self):
        """So that a person can check it."""
        assert "python" in ROUTER.route("python please").reason

    def test_nothing_telling_is_conversation(self):
        """And the reason says that nothing was found."""
        route = ROUTER.route("zzz")

        assert route.agent == CONVERSATION_AGENT
        assert route.reason == "no telling word, so conversation"

    def test_a_doubt_is_said_and_goes_to_conversation(self):
        """Two agents with equal claims: neither gets it."""
        route = ROUTER.route("python poem riddle")

        assert route.abstained
        assert route.agent == CONVERSATION_AGENT
        assert route.confidence == route.scores[CONVERSATION_AGENT]
        assert route.reason.startswith("not sure (")

    def test_a_short_follow_up_leans_to_the_agent_before(self):
        """“Shorter, please” after code stays with code."""
        history = [turn(Role.USER, CLEAR[0][0]), turn(Role.ASSISTANT, "def reverse(s): ...")]

        assert ROUTER.route("shorter, please").agent != "code-agent"
        route = ROUTER.route("shorter, please", history)

        assert route.agent == "code-agent"
        assert "follow-up" in route.reason

    @pytest.mark.parametrize(
        "history",
        [
            [turn(Role.ASSISTANT, "python python")],
            [turn(Role.USER, "hm")],
            [turn(Role.USER, "write python"), turn(Role.USER, "zzz")],
        ],
    )
    def test_a_history_that_tells_nothing_changes_nothing(self, history):
        """Only the last message of the person counts."""
        assert ROUTER.route("zzz", history).agent == CONVERSATION_AGENT

    def test_a_long_message_is_judged_by_itself(self):
        """A follow-up is short."""
        history = [turn(Role.USER, CLEAR[0][0])]
        text = "zzz " * 20

        assert ROUTER.route(text, history).scores == ROUTER.route(text).scores

    def test_only_the_beginning_of_a_giant_is_read(self):
        """A megabyte costs what four thousand characters cost."""
        head = "zzz " * 1000

        assert ROUTER.route(head + "python " * 100_000).scores == ROUTER.route(head).scores

    @given(st.text(max_size=300), st.lists(st.sampled_from(CLEAR), max_size=2))
    def test_any_text_has_a_route(self, text, before):
        """A known agent, a confidence in [0, 1], scores that add up, nothing raised."""
        route = ROUTER.route(text, [turn(Role.USER, words) for words, _ in before])

        assert route.agent in AGENT_IDS
        assert set(route.scores) == set(AGENT_IDS)
        assert abs(sum(route.scores.values()) - 1) < 0.001
        assert route.confidence == route.scores[route.agent]
        assert 0 <= route.confidence <= 1
        assert route.reason
        assert route.latency_ms >= 0

    @given(st.permutations([words for words, _ in CLEAR]))
    def test_every_word_at_once_overflows_nothing(self, texts):
        """Points are finite whatever is written."""
        assert 0 <= ROUTER.route(" ".join(texts) * 3).confidence <= 1


class TestFold:
    @pytest.mark.parametrize(
        ("text", "folded"),
        [
            ("Où est l\u2019été ?", "ou est l ete ?"),
            ("ÇA-VA", "ca va"),
            ("STRASSE ß", "strasse ss"),
        ],
    )
    def test_case_accents_and_joints_are_laid_aside(self, text, folded):
        """So that one word list serves all spellings."""
        assert fold(text) == folded


class TestLanguage:
    @pytest.mark.parametrize(
        ("text", "language"),
        [
            ("what is the weather like", "en"),
            ("quel temps fait il dans le nord", "fr"),
            ("¿qué?", "es"),
            ("wie ist das wetter und was kann ich machen", "de"),
            ("che cosa sono gli gnocchi e come si fanno", "it"),
            ("voce pode fazer isso para mim por favor", "pt"),
            ("hoe kan ik dat voor mij maken en waarom", "nl"),
            ("Привет, как дела", "other"),
            ("zzz", "en"),
            ("12 + 5", "en"),
            ("", "en"),
        ],
    )
    def test_script_and_common_words_tell(self, text, language):
        """A doubt is English or French, whose word lists the router has."""
        assert guess_language(fold(text).split(), text) == language

"""What a caller may send, and what is said of everything else."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.errors import InvalidQueryError, OrionError, TooLargeError, UnknownAgentError
from orion.guardrails import Limits, validate
from orion.types import AUTO, Message, Query, Role, SamplingOverrides, ValidQuery

NAMES = ["conversation-agent", "code-agent", "a-model"]
LIMITS = Limits(message_chars=100, total_chars=250, messages=4, max_tokens=64)
SAMPLING = [field.name for field in dataclasses.fields(SamplingOverrides)]
NUMBERS = [name for name in SAMPLING if name != "stop"]


def passed(text: object = "hello", **given: Any) -> ValidQuery:
    """The valid query that `given` becomes."""
    return validate(Query(text=text, **given), names=NAMES, limits=LIMITS)


def refused(text: object = "hello", **given: Any) -> InvalidQueryError:
    """The error that `given` earns."""
    with pytest.raises(InvalidQueryError) as caught:
        passed(text, **given)
    return caught.value


class TestText:
    def test_a_plain_question_passes(self):
        """With nothing set, nothing is set."""
        query = passed("Bonjour, comment vas-tu ?", request_id="r1")

        assert query == ValidQuery(
            request_id="r1",
            text="Bonjour, comment vas-tu ?",
            agent=AUTO,
            history=(),
            system_prompt=None,
            overrides=SamplingOverrides(),
            session=None,
            trim_history=False,
        )

    @pytest.mark.parametrize("text", ["", " ", "\n\t\u2003 "])
    def test_nothing_said_is_refused(self, text):
        """Spaces of any kind are nothing."""
        assert refused(text).public_message == "`message` is empty."

    @pytest.mark.parametrize("text", [None, 5, 1.5, True, b"hello", ["hello"], {"text": "hello"}])
    def test_what_is_no_text_is_refused(self, text):
        """Named by its type."""
        assert refused(text).reason == f"must be text, not {type(text).__name__}"

    def test_a_null_byte_is_refused_with_its_place(self):
        """It would end the text in many a library."""
        assert refused("abc\x00d").reason == "holds a null byte at position 3"

    @pytest.mark.parametrize("text", ["ab\ud800", "ab\udfff tail"])
    def test_half_a_surrogate_pair_is_refused_with_its_place(self, text):
        """It is no character and cannot travel."""
        assert refused(text).reason == "holds half of a surrogate pair at position 2"

    def test_the_limit_itself_is_allowed(self):
        """One more is not."""
        assert passed("x" * 100).text == "x" * 100
        error = refused("x" * 101)
        assert isinstance(error, TooLargeError)
        assert (error.field, error.size, error.limit, error.status) == ("message", 101, 100, 413)

    def test_any_other_text_passes_unchanged(self):
        """Emoji, right-to-left, combining marks, control characters."""
        text = "👩‍👩‍👧 שלום e\u0301 \x1b[31m\r\n"

        assert passed(text).text == text


class TestAgent:
    @pytest.mark.parametrize("agent", [None, "", AUTO])
    def test_no_agent_means_the_router_chooses(self, agent):
        """None and empty are "auto"."""
        assert passed(agent=agent).agent == AUTO

    @pytest.mark.parametrize("agent", NAMES)
    def test_a_known_name_passes(self, agent):
        """Agents and models alike."""
        assert passed(agent=agent).agent == agent

    def test_an_unknown_name_is_answered_with_the_known_ones(self):
        """So that a person can choose."""
        error = refused(agent="nobody")

        assert isinstance(error, UnknownAgentError)
        assert error.status == 404
        assert error.public_message.endswith(
            "'nobody'. Known: auto, conversation-agent, code-agent, a-model."
        )

    @pytest.mark.parametrize("agent", [5, ["code-agent"], {"id": "code-agent"}, "x" * 129, "\x00"])
    def test_what_is_no_name_is_refused(self, agent):
        """Before anyone looks it up."""
        assert refused(agent=agent).field == "agent"


class TestHistory:
    def test_messages_pass_in_order(self):
        """As mappings or as messages."""
        turns = [
            {"role": "user", "content": "one"},
            Message(role=Role.ASSISTANT, content="two"),
            {"role": "user", "content": ""},
        ]

        assert passed(history=turns).history == (
            Message(role=Role.USER, content="one"),
            Message(role=Role.ASSISTANT, content="two"),
            Message(role=Role.USER, content=""),
        )

    def test_a_first_system_message_is_the_system_prompt(self):
        """And no turn."""
        query = passed(history=[{"role": "system", "content": "Be brief."}])

        assert query.system_prompt == "Be brief."
        assert query.history == ()

    def test_a_system_prompt_of_its_own_wins(self):
        """Over the one in the history."""
        turns = [{"role": "system", "content": "Be brief."}]

        assert passed(history=turns, system_prompt="Be kind.").system_prompt == "Be kind."
        assert passed(history=turns, system_prompt="").system_prompt is None

    @pytest.mark.parametrize(
        ("turns", "place"),
        [(["user", "system"], 1), (["system", "user", "system"], 2), (["system", "system"], 1)],
    )
    def test_a_later_system_message_is_refused(self, turns, place):
        """Its place is counted as the caller counts."""
        error = refused(history=[{"role": role, "content": "x"} for role in turns])

        assert error.field == f"history[{place}].role"

    @pytest.mark.parametrize("role", ["tool", "USER", "", None, 5, ["user"], {}, "\ud800"])
    def test_an_unknown_role_is_refused(self, role):
        """The known ones are named."""
        error = refused(history=[{"role": role, "content": "x"}])

        assert error.public_message == ("`history[0].role` must be one of system, user, assistant.")

    @pytest.mark.parametrize("turn", ["hello", None, 5, ["user", "x"], {}, {"role": "user"}])
    def test_what_is_no_message_is_refused(self, turn):
        """With its place."""
        error = refused(history=[{"role": "user", "content": "x"}, turn])

        assert error.public_message == "`history[1]` must have role and content."

    @pytest.mark.parametrize("history", ["hello", b"hello", {"role": "user"}, 5, True, {1, 2}])
    def test_what_is_no_list_is_refused(self, history):
        """Also what could be iterated."""
        assert refused(history=history).public_message == "`history` must be a list of messages."

    @pytest.mark.parametrize("content", [None, 5, "a\x00", "\ud800", ["text"]])
    def test_content_is_held_to_the_rules_of_text(self, content):
        """With the place of the message."""
        error = refused(history=[{"role": "user", "content": content}])

        assert error.field == "history[0].content"

    def test_too_many_messages_are_refused(self):
        """Before any of them is read."""
        error = refused(history=[None] * 5)

        assert isinstance(error, TooLargeError)
        assert (error.field, error.size, error.unit) == ("history", 5, "messages")

    def test_all_text_together_has_a_limit(self):
        """Message, system prompt and turns, each below its own."""
        turns = [{"role": "user", "content": "x" * 100}, {"role": "user", "content": "x" * 45}]

        assert passed(history=turns, system_prompt="x" * 100).system_prompt
        error = refused("hello!", history=turns, system_prompt="x" * 100)
        assert (error.field, error.size) == ("messages", 251)


class TestNumbers:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_tokens", 1),
            ("max_tokens", 64),
            ("temperature", 0),
            ("temperature", 2),
            ("top_p", 0.01),
            ("top_p", 1),
            ("top_k", 0),
            ("top_k", 1000),
            ("min_p", 0),
            ("min_p", 1.0),
            ("repetition_penalty", 0.5),
            ("repetition_penalty", 2),
            ("seed", 0),
            ("seed", 2**32 - 1),
        ],
    )
    def test_the_ends_of_the_range_are_inside(self, name, value):
        """Every range is closed, but for `top_p` at 0."""
        assert getattr(passed(**{name: value}).overrides, name) == value

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_tokens", 0),
            ("max_tokens", -1),
            ("max_tokens", 65),
            ("temperature", -0.01),
            ("temperature", 99),
            ("top_p", 0),
            ("top_p", 1.01),
            ("top_k", -1),
            ("top_k", 1001),
            ("min_p", -0.1),
            ("min_p", 1.1),
            ("repetition_penalty", 0.4),
            ("repetition_penalty", 2.1),
            ("seed", -1),
            ("seed", 2**32),
            *((name, 10**400) for name in NUMBERS),
            *((name, 1e300) for name in NUMBERS),
        ],
    )
    def test_outside_the_range_is_refused_with_the_range(self, name, value):
        """Also numbers that no float holds."""
        error = refused(**{name: value})

        assert error.field == name
        assert "must " in error.reason
        assert any(digit in error.reason for digit in "0123456789")

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("value", ["1", True, [1], {}, math.nan, math.inf, -math.inf, 1 + 1j])
    def test_what_is_no_number_is_refused(self, name, value):
        """True is no 1, and text is not read as a number."""
        assert refused(**{name: value}).field == name

    @pytest.mark.parametrize("name", ["max_tokens", "top_k", "seed"])
    def test_a_whole_float_is_a_whole_number(self, name):
        """JSON of some clients has no other; a fraction is refused."""
        value = getattr(passed(**{name: 5.0}).overrides, name)

        assert value == 5
        assert isinstance(value, int)
        assert refused(**{name: 5.5}).reason == "must be a whole number"


class TestStop:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [("END", ("END",)), (["a", "b"], ("a", "b")), (("a",), ("a",)), ([], ()), (None, None)],
    )
    def test_one_string_or_a_few(self, given, expected):
        """As the OpenAI clients send them."""
        assert passed(stop=given).overrides.stop == expected

    @pytest.mark.parametrize(
        "stop", ["", [""], ["a", 5], [None], 5, {"a": 1}, ["x"] * 9, "x" * 65, ["\x00"], ["\ud800"]]
    )
    def test_anything_else_is_refused(self, stop):
        """Empty strings would end every answer at once."""
        assert refused(stop=stop).field == "stop"


class TestTheRest:
    @pytest.mark.parametrize("value", [None, 1, 0, "true", [], {}])
    def test_trimming_is_true_or_false(self, value):
        """Nothing is taken for a truth value."""
        assert refused(trim_history=value).field == "trim_history"

    @pytest.mark.parametrize("name", ["session", "request_id"])
    def test_names_are_short_text(self, name):
        """128 characters, no more."""
        assert getattr(passed(**{name: "n" * 128}), name) == "n" * 128
        assert refused(**{name: "n" * 129}).field == name
        assert refused(**{name: 5}).field == name

    @pytest.mark.parametrize("prompt", [5, ["Be brief."], "x" * 101, "\x00", "\ud800"])
    def test_a_system_prompt_is_held_to_the_rules_of_text(self, prompt):
        """It is what people write, too."""
        assert refused(system_prompt=prompt).field == "system_prompt"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.text(st.characters(categories=["Cs", "Cc"]), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = [field.name for field in dataclasses.fields(Query)]


def judged(query: Query) -> ValidQuery | OrionError:
    """What becomes of `query`; nothing else may come out."""
    try:
        return validate(query, names=NAMES, limits=LIMITS)
    except OrionError as error:
        return error


class TestAnything:
    @given(st.fixed_dictionaries({"text": JSON}, optional=dict.fromkeys(FIELDS[1:], JSON)))
    def test_any_json_gives_a_valid_query_or_an_error_of_ours(self, given):
        """No other exception, and the error always has a sentence."""
        outcome = judged(Query(**given))

        assert isinstance(outcome, ValidQuery | OrionError)
        assert not isinstance(outcome, OrionError) or outcome.public_message

    @given(st.sampled_from(FIELDS[1:]), JSON)
    def test_one_odd_field_is_the_one_that_is_named(self, name, value):
        """The others are well, so the error speaks of this one."""
        outcome = judged(Query(text="hello", **{name: value}))

        if isinstance(outcome, UnknownAgentError):
            assert name == "agent"
        elif isinstance(outcome, OrionError):
            assert outcome.field.split("[")[0] in (name, "messages")

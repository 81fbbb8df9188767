"""What a chat request may say, and which parameter a refusal names."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.api.chat_request import read_chat_request
from orion.errors import InvalidQueryError
from tests.fakes.asgi import ASK

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def asked(**fields: Any):
    return read_chat_request({**ASK, **fields})


def refusal(**fields: Any) -> InvalidQueryError:
    with pytest.raises(InvalidQueryError) as caught:
        asked(**fields)
    return caught.value


def turns(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"{role} {i}"} for i, role in enumerate(roles)]


class TestParameters:
    def test_what_is_left_out_stays_the_agents_choice(self):
        """No default of the protocol is forced on the engine."""
        arguments = asked().arguments

        assert arguments["agent"] == "auto"
        assert arguments["text"] == "Hi"
        assert arguments["history"] == []
        assert arguments["trim_history"] is False
        assert {arguments[name] for name in ("max_tokens", "temperature", "seed", "session")} == {
            None
        }

    def test_everything_supported_reaches_the_engine_under_its_own_name(self):
        """Nothing a caller sets is lost on the way."""
        wanted = {
            "temperature": 0.3,
            "top_p": 0.9,
            "top_k": 5,
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "seed": 7,
            "max_tokens": 20,
            "stop": ["a", "b"],
            "session": "s",
            "trim_history": True,
            "keep_alive": "5m",
            "deadline_s": 30,
        }

        arguments = asked(model="code-agent", **wanted).arguments

        assert {name: arguments[name] for name in wanted} == wanted
        assert arguments["agent"] == "code-agent"

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"max_tokens": 5}, 5),
            ({"max_completion_tokens": 6}, 6),
            ({"max_tokens": 7, "max_completion_tokens": 7}, 7),
            ({"max_tokens": 7, "max_completion_tokens": None}, 7),
        ],
    )
    def test_both_names_of_the_token_limit_work(self, fields, expected):
        """Old and new clients name it differently."""
        assert asked(**fields).arguments["max_tokens"] == expected

    def test_model_left_out_means_auto(self):
        """The router is the default."""
        assert asked(model=None).model == "auto"

    def test_one_stop_string_is_a_list_of_one(self):
        """Both forms of the protocol are taken."""
        assert asked(stop="###").arguments["stop"] == ["###"]

    def test_usage_is_asked_for_in_the_stream_options(self):
        """Unknown stream options do no harm."""
        options = {"include_usage": True, "include_obfuscation": False}

        assert asked(stream=True, stream_options=options).include_usage is True
        assert asked(stream=True).include_usage is False

    @pytest.mark.parametrize(
        "fields",
        [
            {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
            {"parallel_tool_calls": True, "reasoning_effort": "low", "verbosity": "low"},
            {"n": 1, "tools": [], "tool_choice": "none", "logprobs": False, "top_logprobs": 0},
            {"response_format": {"type": "text"}, "logit_bias": {}, "modalities": ["text"]},
            {"presence_penalty": 0, "frequency_penalty": 0.0, "functions": []},
            {"tools": None, "n": None, "stop": None, "stream": None, "temperature": None},
        ],
    )
    def test_fields_that_ask_for_nothing_are_let_through(self, fields):
        """Clients send the protocol's neutral values; refusing them would help nobody."""
        assert asked(**fields).arguments == asked().arguments

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("n", 2),
            ("n", True),
            ("tools", [{"type": "function", "function": {"name": "f"}}]),
            ("tool_choice", "required"),
            ("functions", [{"name": "f"}]),
            ("function_call", {"name": "f"}),
            ("response_format", {"type": "json_object"}),
            ("logprobs", True),
            ("top_logprobs", 3),
            ("logit_bias", {"50256": -100}),
            ("presence_penalty", 0.5),
            ("frequency_penalty", -1),
            ("modalities", ["text", "audio"]),
            ("audio", {"voice": "x", "format": "wav"}),
            ("web_search_options", {}),
            ("moderation", {"model": "m"}),
            ("mirostat", 2),
            ("temprature", 1),
            ("stop", 3),
            ("stop", [1]),
            ("stop", {"a": 1}),
            ("stop", ["x"] * 9),
            ("stream", "yes"),
            ("stream", 1),
            ("trim_history", "no"),
            ("session", 4),
            ("model", 4),
            ("model", ["auto"]),
            ("stream_options", {"include_usage": True}),
            ("stream_options", []),
        ],
    )
    def test_unsupported_parameter_is_refused_by_name(self, name, value):
        """A parameter that would change the answer is never silently dropped."""
        error = refusal(**{name: value})

        assert error.facts["field"] == name
        assert error.public_message.startswith(f"`{name}` ")

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"stop": ["ok", ""]}, "stop[1]"),
            ({"stop": ["x" * 65]}, "stop[0]"),
            ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
            (
                {"stream": True, "stream_options": {"include_usage": 1}},
                "stream_options.include_usage",
            ),
        ],
    )
    def test_the_offending_place_is_named(self, fields, field):
        """A list says which member, a pair says which of the two."""
        assert refusal(**fields).facts["field"] == field

    def test_accepted_value_is_told_where_there_is_one(self):
        """The caller reads what would work."""
        assert "only 1" in refusal(n=3).public_message
        assert "'none' or 'auto'" in refusal(tool_choice="required").public_message


class TestMessages:
    def test_leading_system_messages_become_the_system_prompt(self):
        """Both names of the role, in order, joined by an empty line."""
        arguments = asked(messages=turns("system", "developer", "user")).arguments

        assert arguments["system_prompt"] == "system 0\n\ndeveloper 1"
        assert arguments["text"] == "user 2"

    def test_no_system_message_leaves_the_agents_prompt(self):
        """None and an empty prompt are not the same."""
        assert asked().arguments["system_prompt"] is None

    def test_turns_before_the_last_are_the_history(self):
        """In order, roles kept."""
        arguments = asked(messages=turns("user", "assistant", "user")).arguments

        assert arguments["history"] == turns("user", "assistant")
        assert arguments["text"] == "user 2"

    def test_text_parts_are_joined_by_lines(self):
        """A list of text parts is a message."""
        parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

        arguments = asked(messages=[{"role": "user", "content": parts, "name": "me"}]).arguments

        assert arguments["text"] == "one\ntwo"

    @pytest.mark.parametrize(
        ("messages", "field"),
        [
            (None, "messages"),
            ([], "messages"),
            ("hi", "messages"),
            ({"role": "user"}, "messages"),
            (["hi"], "messages[0]"),
            ([{"content": "hi"}], "messages[0].role"),
            ([{"role": None, "content": "hi"}], "messages[0].role"),
            ([{"role": "owner", "content": "hi"}], "messages[0].role"),
            ([{"role": "User", "content": "hi"}], "messages[0].role"),
            ([{"role": "tool", "content": "4", "tool_call_id": "x"}], "messages[0].role"),
            ([{"role": "function", "content": "4"}], "messages[0].role"),
            ([{"role": "user"}], "messages[0].content"),
            ([{"role": "user", "content": None}], "messages[0].content"),
            ([{"role": "user", "content": []}], "messages[0].content"),
            ([{"role": "user", "content": 4}], "messages[0].content"),
            ([{"role": "user", "content": ["hi"]}], "messages[0].content[0]"),
            ([{"role": "user", "content": [PICTURE]}], "messages[0].content[0].type"),
            ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
            (turns("user", "assistant"), "messages[1].role"),
            (turns("system"), "messages[0].role"),
            (turns("user", "system", "user"), "messages[1].role"),
            (
                [{"role": "assistant", "content": "", "tool_calls": [{}]}, *turns("user")],
                "messages[0].tool_calls",
            ),
        ],
    )
    def test_bad_message_is_named(self, messages, field):
        """The path leads to the very value."""
        assert refusal(messages=messages).facts["field"] == field

    def test_long_foreign_words_are_not_echoed_whole(self):
        """An error message stays short whatever was sent."""
        message = {"role": "x" * 10_000, "content": "hi"}

        assert len(refusal(messages=[message]).public_message) < 200
        assert len(refusal(**{"y" * 10_000: 1}).public_message) < 200


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["model", "messages", "stream", "stop", "n", "tools", "stream_options", "session", "logprobs"]
)
PARTS = st.fixed_dictionaries({}, optional={"type": JSON_VALUES, "text": JSON_VALUES})
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "tool"]) | JSON_VALUES,
            "content": st.text() | st.lists(PARTS, max_size=2) | JSON_VALUES,
        },
    ),
    max_size=4,
)


class TestAnyJson:
    @given(body=st.dictionaries(FIELDS, JSON_VALUES), messages=MESSAGES | JSON_VALUES)
    def test_any_body_is_a_request_or_a_refusal(self, body, messages):
        """No JSON reaches the server as another exception."""
        text: Any = ""
        with suppress(InvalidQueryError):
            text = read_chat_request({**body, "messages": messages}).arguments["text"]

        assert isinstance(text, str)

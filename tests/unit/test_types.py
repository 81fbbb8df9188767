"""The values every part speaks in."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import pytest

from orion.errors import InvalidQueryError, OverloadedError
from orion.types import (
    Answer,
    DeltaEvent,
    ErrorEvent,
    Event,
    FinalEvent,
    FinishReason,
    Message,
    ProgressEvent,
    Query,
    RequestState,
    Role,
    Route,
    RouteEvent,
    Sampling,
    SamplingOverrides,
    StateEvent,
    Timings,
    Usage,
    new_request_id,
)

ROUTE = Route(
    agent="code-agent",
    confidence=0.9,
    scores={"code-agent": 0.9, "conversation-agent": 0.1},
    abstained=False,
    reason="keyword: function",
    router="keywords",
    latency_ms=0.2,
)
ANSWER = Answer(
    request_id="r1",
    text="def f(): ...",
    agent="code-agent",
    model="a-model",
    runtime="llamacpp",
    finish_reason=FinishReason.STOP,
    route=ROUTE,
    timings=Timings(ttft_s=0.2, total_s=1.0),
    usage=Usage(prompt_tokens=12, cached_tokens=4, completion_tokens=5),
    states=("idle", "validating", "success"),
)
EVENTS = [
    StateEvent(request_id="r1", state=RequestState.ROUTING, elapsed_s=0.01),
    RouteEvent(request_id="r1", route=ROUTE, model="a-model"),
    ProgressEvent(request_id="r1", phase="queue", elapsed_s=0.3, position=2),
    DeltaEvent(request_id="r1", text="def", num_tokens=1),
    FinalEvent(request_id="r1", answer=ANSWER),
    ErrorEvent(
        request_id="r1",
        error=OverloadedError(queue_max=16, retry_after_s=2),
        text="",
        states=("idle", "error"),
        timings=Timings(),
    ),
]


class TestSamplingOverrides:
    def test_nothing_set_leaves_the_defaults(self):
        """An agent's sampling stands where the caller is silent."""
        defaults = Sampling(temperature=0.1, stop=("END",))

        assert SamplingOverrides().over(defaults) == defaults

    def test_what_is_set_wins(self):
        """Also values that look like nothing: zero and an empty tuple."""
        defaults = Sampling(temperature=0.7, top_k=40, stop=("END",), max_tokens=7)

        made = SamplingOverrides(temperature=0.0, top_k=0, stop=(), seed=0).over(defaults)

        assert (made.temperature, made.top_k, made.stop, made.seed) == (0.0, 0, (), 0)
        assert made.max_tokens == 7

    def test_every_sampling_field_can_be_overridden(self):
        """The two classes have the same fields."""
        names = [field.name for field in dataclasses.fields(Sampling)]

        assert [field.name for field in dataclasses.fields(SamplingOverrides)] == names


class TestRequestId:
    def test_ids_differ_and_cannot_be_guessed(self):
        """Knowing an id is what lets a caller cancel: 128 random bits."""
        ids = {new_request_id() for _ in range(100)}

        assert len(ids) == 100
        assert all(len(one) == 32 for one in ids)

    def test_two_queries_have_two_ids(self):
        """The id is made per query."""
        assert Query(text="a").request_id != Query(text="a").request_id


class TestRole:
    def test_a_foreign_role_is_no_role(self):
        """A role string from a client passes through the enumeration or not at all."""
        with pytest.raises(ValueError, match="tool"):
            Role("tool")

    def test_a_message_is_frozen(self):
        """History cannot be changed under way."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            Message(role=Role.USER, content="hi").content = "bye"


class TestUsage:
    def test_the_sum_counts_prompt_and_completion(self):
        """Cached tokens are part of the prompt, not on top of it."""
        assert ANSWER.usage.as_dict() == {
            "prompt_tokens": 12,
            "cached_tokens": 4,
            "completion_tokens": 5,
            "total_tokens": 17,
        }


class TestAnswer:
    def test_its_dict_has_every_field(self):
        """Nothing of an answer is lost on the way to JSON."""
        names = {field.name for field in dataclasses.fields(Answer)}

        assert ANSWER.as_dict().keys() == names

    def test_its_dict_has_the_keys_of_the_command_line(self):
        """What `orion ask --json` promises."""
        promised = (
            "text agent model runtime finish_reason route timings usage states cached fallback_from"
        )

        assert ANSWER.as_dict().keys() >= set(promised.split())


class TestEvents:
    def test_there_is_an_example_of_every_event(self):
        """The tests below cover the whole union."""
        assert {type(event) for event in EVENTS} == set(get_args(Event))

    @pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
    def test_it_is_plain_json_with_its_type_and_request(self, event):
        """What goes over the wire survives the wire unchanged."""
        data = event.as_dict()

        assert json.loads(json.dumps(data)) == data
        assert (data["type"], data["request_id"]) == (event.type, "r1")

    def test_types_are_those_of_the_contract(self):
        """`state|route|progress|delta|final|error`."""
        assert [event.type for event in EVENTS] == [
            "state", "route", "progress", "delta", "final", "error",
        ]  # fmt: skip

    def test_a_state_is_its_word(self):
        """Not `RequestState.ROUTING`."""
        assert EVENTS[0].as_dict()["state"] == "routing"

    def test_a_route_event_carries_the_whole_route(self):
        """Agent, confidence, scores and the reason, beside the model."""
        data = EVENTS[1].as_dict()

        expected = {**ROUTE.as_dict(), "model": "a-model", "type": "route", "request_id": "r1"}
        assert data == expected


class TestErrorEvent:
    def test_it_says_when_to_come_back(self):
        """`retry_after_s` where the error knows it."""
        assert EVENTS[-1].as_dict()["retry_after_s"] == 2.0

    def test_without_a_time_there_is_none(self):
        """Bad input does not get better by waiting."""
        error = InvalidQueryError(field="text", reason="is empty")
        event = ErrorEvent(request_id="r1", error=error, text="", states=(), timings=Timings())

        data = event.as_dict()

        assert (data["retry_after_s"], data["retryable"]) == (None, False)
        assert data["message"] == "`text` is empty."

    @pytest.mark.parametrize(("text", "partial"), [("", False), ("Once upon", True)])
    def test_delivered_text_makes_it_partial(self, text, partial):
        """A reader learns that the text in hand is a part."""
        error = OverloadedError(queue_max=1)
        event = ErrorEvent(request_id="r1", error=error, text=text, states=(), timings=Timings())

        assert (event.as_dict()["partial"], event.as_dict()["text"]) == (partial, text)

"""What the browser keeps: built, read back, distrusted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orion.errors import TooLargeError, WorkerDiedError
from orion.types import ErrorEvent, FinishReason, Timings
from orion.ui.conversation import (
    MAX_TURNS,
    Conversation,
    Turn,
    failed,
    finished,
    read_conversation,
)
from tests.fakes.engine import Call, final

CALL = Call("hello", {"request_id": "r1"})


def error_event(error: Any, text: str = "") -> ErrorEvent:
    return ErrorEvent(request_id="r1", error=error, text=text, states=(), timings=Timings())


class TestConversation:
    def test_survives_the_browser(self) -> None:
        """Stored as JSON and read back, it is the same."""
        told = Conversation().and_then(finished("hello", final(CALL, "Hi."), chosen=False))

        assert read_conversation(json.loads(json.dumps(told.stored()))) == told

    def test_hands_the_engine_only_what_was_answered(self) -> None:
        """A turn that failed without a word is not part of the history."""
        conversation = Conversation(
            turns=(
                Turn(question="one", answer="1"),
                Turn(question="two"),
                Turn(question="three", answer="3 and a ha"),
            )
        )

        assert [message["content"] for message in conversation.history()] == [
            "one", "1", "three", "3 and a ha",
        ]  # fmt: skip
        assert [message["role"] for message in conversation.history()][:2] == ["user", "assistant"]

    def test_what_was_stopped_or_failed_never_reaches_a_model_again(self) -> None:
        """Neither the part nor its question; also where an older page stored it as an answer."""
        stopped = finished("two", final(CALL, "2 and", FinishReason.CANCELLED), chosen=False)
        broken = failed("three", error_event(WorkerDiedError(model="m"), "3 and"), "It died.")
        told = Conversation(turns=(Turn(question="one", answer="1"), stopped, broken))
        older = told.stored()
        for turn in older["turns"][1:]:
            turn["answer"] = turn.pop("part")

        for conversation in (told, read_conversation(older)):
            contents = [message["content"] for message in conversation.history()]
            assert contents == ["one", "1"]

    def test_the_oldest_turns_make_room(self) -> None:
        """The store of a browser is not endless."""
        conversation = Conversation()
        for index in range(MAX_TURNS + 3):
            conversation = conversation.and_then(Turn(question=str(index)))

        assert len(conversation.turns) == MAX_TURNS
        assert conversation.turns[-1].question == str(MAX_TURNS + 2)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            7,
            "no json",
            "[[[[",
            [],
            {"turns": "many"},
            {"turns": [{"question": 5}]},
            {"version": 2, "turns": []},
            {"turns": [{"question": "q"}] * (MAX_TURNS + 1)},
            {"turns": [{"question": "q", "facts": {"agent": {"$ne": None}}}]},
        ],
    )
    def test_nonsense_in_the_store_is_an_empty_conversation(self, value: object) -> None:
        """Whatever stands there, the page opens."""
        assert read_conversation(value) == Conversation()


class TestTurns:
    def test_a_stopped_answer_keeps_its_text_as_a_part_and_says_so(self) -> None:
        """It can still be read, and is no answer."""
        turn = finished("q", final(CALL, "Half", FinishReason.CANCELLED), chosen=True)

        assert (turn.answer, turn.part) == ("", "Half")
        assert turn.facts
        assert turn.facts.finish_reason == "cancelled"
        assert turn.facts.chosen

    def test_a_failure_keeps_what_had_arrived(self) -> None:
        """With the code and whether to try again."""
        turn = failed("q", error_event(WorkerDiedError(model="m"), "Half"), "It died.")

        assert (turn.answer, turn.part) == ("", "Half")
        assert turn.failure
        assert (turn.failure.code, turn.failure.retryable) == ("worker_died", True)

    def test_a_message_that_is_too_large_is_not_kept_whole(self) -> None:
        """A megabyte would fill the browser's store and come back with each question."""
        error = TooLargeError(field="text", size=9, limit=3, unit="characters")

        turn = failed("x" * 1_000_000, error_event(error), "Too large.")

        assert len(turn.question) < 3_000

"""The conversation as the browser keeps it: read with suspicion, handed to the engine, shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from orion.types import ErrorEvent, FinalEvent, FinishReason

STORAGE_KEY = "orion.conversation"
STORAGE_SECRET = "orion"  # noqa: S105 - it hides nothing: the browser's own data, on its own disk
MAX_TURNS = 200
MAX_QUESTION_CHARS = 100_000
"""Longer ones are refused anyway; enough of them is kept to recognise them."""
ABRIDGED_CHARS = 2_000

Word = Annotated[str, StringConstraints(max_length=200)]
Text = Annotated[str, StringConstraints(max_length=500_000)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Stored(BaseModel):
    """Text from outside: anyone can edit a browser's storage."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RouteFacts(_Stored):
    """Why the agent was chosen."""

    reason: Annotated[str, StringConstraints(max_length=2_000)] = ""
    confidence: float = Field(0.0, ge=0, le=1)
    abstained: bool = False


class TimingFacts(_Stored):
    """Where the time went; the names of `orion.types.Timings`."""

    guard_s: Seconds = 0.0
    route_s: Seconds = 0.0
    failed_s: Seconds = 0.0
    queue_s: Seconds = 0.0
    load_s: Seconds = 0.0
    prefill_s: Seconds = 0.0
    decode_s: Seconds = 0.0
    ttft_s: Seconds | None = None
    tokens_per_s: Seconds | None = None
    total_s: Seconds = 0.0
    start: Literal["cold", "warm"] = "warm"


class UsageFacts(_Stored):
    """Tokens of one answer."""

    prompt_tokens: int = Field(0, ge=0)
    cached_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)


class AnswerFacts(_Stored):
    """What is said under an answer."""

    agent: Word
    model: Word
    runtime: Word
    finish_reason: Literal["stop", "length", "cancelled"]
    route: RouteFacts
    timings: TimingFacts
    usage: UsageFacts
    states: tuple[Word, ...] = Field((), max_length=50)
    cached: bool = False
    cached_age_s: Seconds | None = None
    fallback_from: Word | None = None
    chosen: bool = False


class Failure(_Stored):
    """Why there is no answer, or only a part of one."""

    code: Word
    message: Annotated[str, StringConstraints(max_length=4_000)]
    retryable: bool = False


class Turn(_Stored):
    """One question and what came of it.

    `part` is what there was of an answer that was stopped or failed: shown, but no answer,
    so no later question brings it back to a model.
    """

    question: Text
    answer: Text = ""
    part: Text = ""
    facts: AnswerFacts | None = None
    failure: Failure | None = None

    @property
    def is_broken_off(self) -> bool:
        """Whether it was stopped or failed."""
        return self.failure is not None or (
            self.facts is not None and self.facts.finish_reason == "cancelled"
        )


class Conversation(_Stored):
    """What one browser keeps under `STORAGE_KEY`. Immutable; steps return a new one."""

    version: Literal[1] = 1
    turns: tuple[Turn, ...] = Field((), max_length=MAX_TURNS)

    def and_then(self, turn: Turn) -> Conversation:
        """With one more turn; the oldest make room."""
        return Conversation(turns=(*self.turns[-MAX_TURNS + 1 :], turn))

    def history(self) -> list[dict[str, str]]:
        """The turns that have an answer, as messages for the engine."""
        return [
            {"role": role, "content": content}
            for turn in self.turns
            if turn.answer and not turn.is_broken_off
            for role, content in (("user", turn.question), ("assistant", turn.answer))
        ]

    def stored(self) -> dict[str, Any]:
        """Plain values for the browser."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"version": 1}


def read_conversation(value: object) -> Conversation:
    """What the browser sent, or an empty conversation where that makes no sense."""
    try:
        return (
            Conversation.model_validate_json(value)
            if isinstance(value, str)
            else (Conversation.model_validate(value, strict=False))
        )
    except ValidationError:
        return Conversation()


def abridged(question: str) -> str:
    """`question`, or the beginning of one that is too long to keep."""
    if len(question) <= MAX_QUESTION_CHARS:
        return question
    return question[:ABRIDGED_CHARS] + " …"


def finished(question: str, event: FinalEvent, *, chosen: bool) -> Turn:
    """The turn of an answer that ended well or was stopped."""
    answer = event.answer
    facts = AnswerFacts.model_validate({**answer.as_dict(), "chosen": chosen})
    if answer.finish_reason is FinishReason.CANCELLED:
        return Turn(question=abridged(question), part=answer.text, facts=facts)
    return Turn(question=abridged(question), answer=answer.text, facts=facts)


def failed(question: str, event: ErrorEvent, message: str) -> Turn:
    """The turn of a request that failed; what had arrived of the answer stays."""
    failure = Failure(
        code=event.error.code, message=message[:4_000], retryable=event.error.retryable
    )
    return Turn(question=abridged(question), part=event.text, failure=failure)

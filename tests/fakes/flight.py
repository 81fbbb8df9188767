"""A generation that says what the test puts in, and questions to look its answer up by."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orion.answer_cache import AnswerCache, MessageKind, Question, Seat, Source, StoredAnswer
from orion.clock import Clock, ManualClock
from orion.types import Sampling, Usage

LIMIT_S = 20.0


@dataclass(frozen=True)
class Word:
    """A part of the answer."""

    text: str


@dataclass(frozen=True)
class Wait:
    """Progress."""

    number: int


@dataclass(frozen=True)
class Load:
    """Progress of another type."""

    number: int


@dataclass(frozen=True)
class Turn:
    """Another agent goes on."""


@dataclass(frozen=True)
class End:
    """The last; `whole` answers are kept."""

    whole: bool = True


Message = Word | Wait | Load | Turn | End
WHOLE = [Word("a"), Word("b"), End()]
_KINDS = {
    Word: MessageKind.PART,
    Wait: MessageKind.PROGRESS,
    Load: MessageKind.PROGRESS,
    Turn: MessageKind.TURN,
    End: MessageKind.LAST,
}


class ScriptedSource(Source[Message]):
    """Says what it is given; an exception among it is raised."""

    def __init__(self, *messages: Message | Exception) -> None:
        self.messages: queue.SimpleQueue[Message | Exception] = queue.SimpleQueue()
        self.starts = 0
        self.cancels = 0
        self.reading = threading.Semaphore(0)
        self.at_once = 0
        self.most_at_once = 0
        self.on_start: Any = None
        self.say(*messages)

    def say(self, *messages: Message | Exception) -> None:
        for message in messages:
            self.messages.put(message)

    def start(self) -> None:
        self.starts += 1
        if self.on_start is not None:
            self.on_start()

    def get(self, timeout_s: float) -> Message | None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.reading.release()
        try:
            message = self.messages.get(timeout=timeout_s)
        except queue.Empty:
            return None
        finally:
            self.at_once -= 1
        if isinstance(message, Exception):
            raise message
        return message

    def cancel(self) -> None:
        self.cancels += 1

    def kind(self, message: Message) -> MessageKind:
        return _KINDS[type(message)]

    def answer(self, messages: Sequence[Message]) -> StoredAnswer | None:
        last = messages[-1]
        if not isinstance(last, End) or not last.whole:
            return None
        return stored("".join(word.text for word in messages if isinstance(word, Word)))


def stored(text: str) -> StoredAnswer:
    """An answer worth keeping."""
    usage = Usage(prompt_tokens=3, completion_tokens=len(text.split()))
    return StoredAnswer(text=text, usage=usage, runtime="fake")


def make_cache(clock: Clock | None = None, **given: Any) -> AnswerCache:
    """A cache with room for everything and a clock that stands still."""
    options: dict[str, Any] = {
        "enabled": True,
        "public": False,
        "entries": 1000,
        "size_bytes": 1 << 24,
        "ttl_s": 3600.0,
    }
    return AnswerCache(**{**options, **given}, clock=clock or ManualClock())


def question(text: str = "hello", session: str | None = "s1", **changes: Any) -> Question:
    """A question that has one answer."""
    given: dict[str, Any] = {
        "session": session,
        "asked": "auto",
        "agent": "code-agent",
        "model": "tiny",
        "model_digest": "0" * 64,
        "messages": (("system", "You answer."), ("user", text)),
        "sampling": Sampling(temperature=0.0),
        "is_single": True,
    }
    return Question(**{**given, **changes})


class Desk:
    """A cache, one question, and those who ask it."""

    def __init__(self, **given: Any) -> None:
        self.cache: AnswerCache = make_cache(**given)
        self.key = self.cache.key(question())
        self.source = ScriptedSource()

    def board(self, source: ScriptedSource | None = None, **given: Any) -> Any:
        return self.cache.board(self.key, source or self.source, **given)

    def count(self, name: str) -> int:
        return int(self.cache.stats()[name])


def heard(seat: Seat[Any]) -> list[Any]:
    """Everything there is to hear now."""
    out = []
    while (message := seat.get(0.0)) is not None:
        out.append(message)
    return out

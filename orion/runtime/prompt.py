"""Conversation → token ids, built so that no text becomes a control token.

What the template writes is encoded with special parsing on, what people wrote with it
off, each by itself; the control ids of the result must then be exactly those of the
same conversation with every content replaced by "x".
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orion.errors import ContextTooLongError, InvalidQueryError
from orion.runtime.chat_template import ChatTemplate, Segment
from orion.types import Message, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ChatTemplate", "Prompt", "PromptBuilder", "Segment", "Tokenizer", "build_prompt"]

_CACHED_IDS = 200_000
_HALVINGS = 48
_SHARE_FOR_ANSWER = 4


class Tokenizer(Protocol):
    """The part of a model's tokenizer that building a prompt needs. Thread-safe."""

    def encode_control(self, text: str) -> list[int]:
        """Ids of text the template wrote: special parsing on, no BOS added."""

    def encode_content(self, text: str) -> list[int]:
        """Ids of text a person wrote: special parsing off."""

    @property
    def control_ids(self) -> frozenset[int]:
        """Every added or special id of the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids ready for prefill, and how many old messages were left out.

    The first `shared_tokens` come from the template and from shared messages only.
    """

    ids: list[int]
    trimmed_messages: int = 0
    shared_tokens: int = 0


class PromptBuilder:
    """Builds prompts for one model; keeps the ids of segments it has seen. Thread-safe."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._encoded = _IdCache(max_ids=_CACHED_IDS)

    def build(
        self,
        messages: Sequence[Message],
        *,
        context_tokens: int,
        max_tokens: int,
        trim_history: bool = False,
        shared_messages: int = 0,
    ) -> Prompt:
        """The ids of `messages`, followed by the start of the answer.

        The prompt leaves room for at least one token. With `trim_history` the oldest
        turns go, never the system message nor the last user message, until it leaves
        `min(max_tokens, context_tokens // 4)` or there is nothing more to drop. The first
        `shared_messages` hold nobody's words.

        Raises:
            ContextTooLongError: It does not fit.
            InvalidQueryError: The template refuses the conversation.
        """
        ids = self._encode(messages)
        dropped = 0
        if trim_history:
            reserve = max(1, min(max_tokens, context_tokens // _SHARE_FOR_ANSWER))
            if len(ids) + reserve > context_tokens:
                kept = self._trim(messages, limit=context_tokens - reserve)
                dropped = len(messages) - len(kept)
                messages, ids = kept, self._encode(kept)
        if len(ids) + 1 > context_tokens:
            raise ContextTooLongError(prompt_tokens=len(ids), context_tokens=context_tokens)
        self._check(messages, ids)
        shared_tokens = self._shared_tokens(messages, shared_messages)
        return Prompt(ids=ids, trimmed_messages=dropped, shared_tokens=shared_tokens)

    def _trim(self, messages: Sequence[Message], *, limit: int) -> list[Message]:
        head, turns = _turns(messages)

        def without(count: int) -> list[Message]:
            return [*head, *(message for turn in turns[count:] for message in turn)]

        droppable = range(len(turns))
        first = bisect.bisect_left(
            droppable, x=True, key=lambda count: len(self._encode(without(count))) <= limit
        )
        return without(min(first, len(turns) - 1))

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        ids: list[int] = []
        for segment in self._template.segments(messages):
            ids += self._content(segment.text) if segment.is_content else self._control(segment)
        return ids

    def _shared_tokens(self, messages: Sequence[Message], shared_messages: int) -> int:
        """The ids before the first word of somebody; a template may put messages elsewhere."""
        allowed = iter(messages[:shared_messages])
        count = 0
        for segment in self._template.segments(messages):
            if not segment.is_content:
                count += len(self._control(segment))
            elif (message := next(allowed, None)) and message.content == segment.text:
                count += len(self._content(segment.text))
            else:
                break
        return count

    def _control(self, segment: Segment) -> tuple[int, ...]:
        found = self._encoded.get(segment)
        if found is None:
            found = tuple(self._tokenizer.encode_control(segment.text))
            self._encoded.put(segment, found)
        return found

    def _content(self, text: str, *, halvings: int = _HALVINGS) -> tuple[int, ...]:
        """Ids of `text`, without control ids even where the tokenizer insists on them.

        Some tokenizers match added tokens with special parsing off; cutting the text
        finer until no piece holds a whole one keeps every character of it.
        """
        key = Segment(text, is_content=True)
        found = self._encoded.get(key)
        if found is None:
            found = tuple(self._tokenizer.encode_content(text))
            if not self._tokenizer.control_ids.isdisjoint(found):
                found = self._content_in_pieces(text, halvings=halvings)
            self._encoded.put(key, found)
        return found

    def _content_in_pieces(self, text: str, *, halvings: int) -> tuple[int, ...]:
        if len(text) == 1:
            reason = f"holds the character U+{ord(text):04X}, which is a control token here"
            raise InvalidQueryError(field="message", reason=reason)
        if halvings <= 1:
            pieces = list(text)
        else:
            middle = len(text) // 2
            pieces = [text[:middle], text[middle:]]
        ids: tuple[int, ...] = ()
        for piece in pieces:
            ids += self._content(piece, halvings=(halvings - 1) // 2)
        return ids

    def _check(self, messages: Sequence[Message], ids: Sequence[int]) -> None:
        control_ids = self._tokenizer.control_ids
        plain = [Message(role=message.role, content="x") for message in messages]
        text = "".join(segment.text for segment in self._template.segments(plain))
        expected = [i for i in self._control(Segment(text, is_content=False)) if i in control_ids]
        if expected != [i for i in ids if i in control_ids]:
            reason = "cannot be told apart from this model's control tokens"
            raise InvalidQueryError(field="message", reason=reason)


def build_prompt(
    template: ChatTemplate,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    context_tokens: int,
    max_tokens: int,
    trim_history: bool,
) -> Prompt:
    """One prompt without keeping anything; see `PromptBuilder.build`."""
    return PromptBuilder(template, tokenizer).build(
        messages,
        context_tokens=context_tokens,
        max_tokens=max_tokens,
        trim_history=trim_history,
    )


def _turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system message, and the rest in turns that each start with a user message.

    The last turn starts with the last user message: it is the one never dropped.
    """
    head = [message for message in messages[:1] if message.role is Role.SYSTEM]
    turns: list[list[Message]] = []
    for message in messages[len(head) :]:
        if message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return head, turns or [[]]


class _IdCache:
    """Ids by segment, least recently used out first, bounded by ids and characters held."""

    def __init__(self, *, max_ids: int) -> None:
        self._max_ids = max_ids
        self._size = 0
        self._kept: OrderedDict[Segment, tuple[int, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, segment: Segment) -> tuple[int, ...] | None:
        """What was kept for `segment`."""
        with self._lock:
            if segment in self._kept:
                self._kept.move_to_end(segment)
            return self._kept.get(segment)

    def put(self, segment: Segment, ids: tuple[int, ...]) -> None:
        """Keep `ids`, letting go of the oldest to make room."""
        cost = _cost(segment, ids)
        if cost > self._max_ids // 4:
            return
        with self._lock:
            if segment not in self._kept:
                self._kept[segment] = ids
                self._size += cost
            while self._size > self._max_ids:
                old, old_ids = self._kept.popitem(last=False)
                self._size -= _cost(old, old_ids)


def _cost(segment: Segment, ids: tuple[int, ...]) -> int:
    return len(segment.text) // 4 + len(ids) + 16

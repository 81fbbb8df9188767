"""How one request ended, told from what its caller saw and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from orion.errors import error_classes
from orion.types import ErrorEvent, FinalEvent, FinishReason, StateEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.chaos.asking import Asked
    from benchmarks.chaos.http_client import Reply


class Fate(StrEnum):
    """Every way a request can end."""

    WHOLE = "whole"
    FALLBACK = "whole, by the fallback"
    PARTIAL = "partial, marked"
    REFUSED = "documented refusal"
    CANCELLED = "cancelled"
    FAILED = "documented failure, no text"
    UNKNOWN = "undocumented error"
    TORN = "stream without an end"
    WRONG = "wrong text"
    HUNG = "no end"


GOOD = frozenset({Fate.WHOLE, Fate.FALLBACK, Fate.PARTIAL})
ENDED_WELL = GOOD | {Fate.REFUSED, Fate.CANCELLED}
_LIE = re.compile(r"(?<!twice )twice $|(?:flood )+$")
_UNAVAILABLE = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


def due(num_tokens: int) -> str:
    """What the scripted runtime writes for `tokens=N`."""
    return "".join(f"t{index} " for index in range(num_tokens))


def fate_of(asked: Asked, num_tokens: int, *, lies: bool = False) -> Fate:
    """How a stream of the engine ended that was due `num_tokens` tokens.

    Where the worker was scripted to lie (`flood`, `dup`), its own invention may end the text.
    """
    end, text = asked.end, asked.text
    if end is None:
        return Fate.HUNG
    told = end.answer.text if isinstance(end, FinalEvent) else end.text
    if told != text or not _is_due(text, num_tokens, lies=lies) or _after_end(asked):
        return Fate.WRONG
    if isinstance(end, ErrorEvent):
        return Fate.PARTIAL if text else _refusal(end.error.code, end.error.status)
    if end.answer.finish_reason is FinishReason.CANCELLED:
        return Fate.CANCELLED
    if text != due(num_tokens):
        return Fate.WRONG
    return Fate.FALLBACK if end.answer.fallback_from else Fate.WHOLE


def _is_due(text: str, num_tokens: int, *, lies: bool) -> bool:
    """Whether every token came in its place, once; a lie ends the text and is told once."""
    if lies:
        text = _LIE.sub("", text)
    return due(num_tokens).startswith(text)


def _after_end(asked: Asked) -> bool:
    """Whether anything follows the last event, or two last states are told."""
    events = [event for _, event in asked.events]
    ends = sum(isinstance(event, ErrorEvent | FinalEvent) for event in events)
    over = sum(
        isinstance(event, StateEvent) and event.state in {"success", "error", "cancelled"}
        for event in events
    )
    return ends != 1 or over > 1 or not isinstance(events[-1], ErrorEvent | FinalEvent)


def fate_of_reply(reply: Reply, num_tokens: int, *, lies: bool = False) -> Fate:
    """The same for an answer over HTTP."""
    if reply.timed_out:
        return Fate.HUNG
    if reply.status and reply.status != HTTPStatus.OK:
        return _refusal(reply.code, reply.status)
    if not _is_due(reply.text, num_tokens, lies=lies):
        return Fate.WRONG
    if reply.code:
        is_known = reply.code in error_classes() and reply.orion.get("partial") is True
        return Fate.PARTIAL if is_known else Fate.UNKNOWN
    return _end_of_reply(reply, num_tokens)


def _end_of_reply(reply: Reply, num_tokens: int) -> Fate:
    """How a stream that told no error ended."""
    if not reply.ended:
        return Fate.TORN
    if reply.orion.get("finish_reason") == "cancelled":
        return Fate.CANCELLED
    if reply.text != due(num_tokens):
        return Fate.WRONG
    return Fate.FALLBACK if reply.orion.get("fallback_from") else Fate.WHOLE


def _refusal(code: str, status: int) -> Fate:
    """A refusal is documented when its code is, and when it does not speak of a failure."""
    if code not in error_classes():
        return Fate.UNKNOWN
    if status < HTTPStatus.INTERNAL_SERVER_ERROR or status in _UNAVAILABLE:
        return Fate.REFUSED
    return Fate.FAILED


def tally(fates: Iterable[Fate]) -> dict[str, int]:
    """How often each fate was met, the common ones first."""
    return {str(fate): count for fate, count in Counter(fates).most_common()}


def in_words(fates: Iterable[Fate]) -> str:
    """The same as text."""
    counted: dict[str, Any] = tally(fates)
    return ", ".join(f"{count} {fate}" for fate, count in counted.items()) or "nothing"

"""Is this a request at all? Types, sizes, ranges and characters; nothing about meaning."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orion.errors import InvalidQueryError, TooLargeError, UnknownAgentError
from orion.guardrails.duration import parse_keep_alive
from orion.types import AUTO, Message, Query, Role, SamplingOverrides, ValidQuery

_STOP_STRINGS_MAX = 8
_STOP_CHARS_MAX = 64
_NAME_CHARS_MAX = 128
_CLIENT_CHARS_MAX = 160
_SEED_MAX = 2**32 - 1
_DEADLINE_MAX_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes above which a request is refused, and whether callers may set `keep_alive`."""

    message_chars: int
    total_chars: int
    messages: int
    max_tokens: int
    keep_alive: bool = True


def validate(query: Query, *, names: Collection[str], limits: Limits) -> ValidQuery:
    """Check everything a caller can set.

    Args:
        query: As it came.
        names: Agent and model ids there are.
        limits: Sizes accepted.

    Raises:
        InvalidQueryError: Names the field and what is wrong with it.
        UnknownAgentError: `agent` is none of `names`.
        TooLargeError: Over a limit.
    """
    text = _text("message", query.text, limits.message_chars)
    if not text.strip():
        raise InvalidQueryError(field="message", reason="is empty")
    history, leading_system = _history(query.history, limits)
    system_prompt = query.system_prompt if query.system_prompt is not None else leading_system
    if system_prompt is not None:
        system_prompt = _text("system_prompt", system_prompt, limits.message_chars)
    total = len(text) + len(system_prompt or "") + sum(len(turn.content) for turn in history)
    if total > limits.total_chars:
        raise TooLargeError(
            field="messages", size=total, limit=limits.total_chars, unit="characters"
        )
    session = _name("session", query.session)
    return ValidQuery(
        request_id=_name("request_id", query.request_id) or "",
        text=text,
        agent=_agent(query.agent, names),
        history=history,
        system_prompt=system_prompt or None,
        overrides=_overrides(query, limits),
        session=session,
        trim_history=_flag("trim_history", query.trim_history),
        keep_alive_s=_keep_alive(query.keep_alive, limits),
        deadline_s=_number("deadline_s", query.deadline_s, 0, _DEADLINE_MAX_S, above=True),
        client=_client(query.client, session),
    )


def client_of_session(session: str) -> str:
    """Who asks, where a session is all that is known of them."""
    return f"session:{session}"


def _text(field: str, value: Any, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidQueryError(field=field, reason=f"must be text, not {type(value).__name__}")
    if len(value) > limit:
        raise TooLargeError(field=field, size=len(value), limit=limit, unit="characters")
    if "\x00" in value:
        position = value.index("\x00")
        raise InvalidQueryError(field=field, reason=f"holds a null byte at position {position}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        reason = f"holds half of a surrogate pair at position {error.start}"
        raise InvalidQueryError(field=field, reason=reason) from error
    return value


def _name(field: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    return _text(field, value, _NAME_CHARS_MAX)


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidQueryError(field=field, reason="must be true or false")
    return value


def _agent(value: Any, names: Collection[str]) -> str:
    name = _name("agent", value) or AUTO
    if name != AUTO and name not in names:
        raise UnknownAgentError(name=name, known=", ".join([AUTO, *names]))
    return name


def _history(value: Any, limits: Limits) -> tuple[tuple[Message, ...], str | None]:
    """The turns before, and the system prompt if the first of them is one."""
    if value is None:
        return (), None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise InvalidQueryError(field="history", reason="must be a list of messages")
    if len(value) > limits.messages:
        raise TooLargeError(
            field="history", size=len(value), limit=limits.messages, unit="messages"
        )
    turns = [_turn(f"history[{index}]", item, limits) for index, item in enumerate(value)]
    system: str | None = None
    if turns and turns[0].role is Role.SYSTEM:
        system = turns.pop(0).content
    for index, turn in enumerate(turns):
        if turn.role is Role.SYSTEM:
            field = f"history[{index + (system is not None)}].role"
            raise InvalidQueryError(field=field, reason="may be system only in the first message")
    return tuple(turns), system


def _turn(field: str, item: Any, limits: Limits) -> Message:
    if isinstance(item, Message):
        role, content = str(item.role), item.content
    elif isinstance(item, Mapping) and "role" in item and "content" in item:
        role, content = item["role"], item["content"]
    else:
        raise InvalidQueryError(field=field, reason="must have role and content")
    try:
        known = Role(role)
    except ValueError:
        reason = "must be one of " + ", ".join(Role)
        raise InvalidQueryError(field=f"{field}.role", reason=reason) from None
    return Message(role=known, content=_text(f"{field}.content", content, limits.message_chars))


def _overrides(query: Query, limits: Limits) -> SamplingOverrides:
    return SamplingOverrides(
        max_tokens=_integer("max_tokens", query.max_tokens, 1, limits.max_tokens),
        temperature=_number("temperature", query.temperature, 0, 2),
        top_p=_number("top_p", query.top_p, 0, 1, above=True),
        top_k=_integer("top_k", query.top_k, 0, 1000),
        min_p=_number("min_p", query.min_p, 0, 1),
        repetition_penalty=_number("repetition_penalty", query.repetition_penalty, 0.5, 2),
        seed=_integer("seed", query.seed, 0, _SEED_MAX),
        stop=_stop(query.stop),
    )


def _integer(field: str, value: Any, low: int, high: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidQueryError(field=field, reason="must be a whole number")
    if not low <= value <= high:
        raise InvalidQueryError(field=field, reason=f"must lie between {low} and {high}")
    return value


def _number(
    field: str, value: Any, low: float, high: float, *, above: bool = False
) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise InvalidQueryError(field=field, reason="must be a number")
    if not low <= value <= high or (above and value == low):
        lowest = f"above {low:g}" if above else f"at least {low:g}"
        reason = f"must be {lowest} and at most {high:g}"
        raise InvalidQueryError(field=field, reason=reason)
    return float(value)


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)  # no float holds 10**400


def _client(value: Any, session: str | None) -> str:
    if value:
        return _text("client", value, _CLIENT_CHARS_MAX)
    return client_of_session(session) if session else ""


def _keep_alive(value: Any, limits: Limits) -> float | None:
    if value is not None and not limits.keep_alive:
        reason = "is the operator's here (ORION_MEMORY__CALLER_KEEP_ALIVE is off); leave it out"
        raise InvalidQueryError(field="keep_alive", reason=reason)
    return parse_keep_alive(value)


def _stop(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list | tuple) or len(strings) > _STOP_STRINGS_MAX:
        raise InvalidQueryError(field="stop", reason=f"takes at most {_STOP_STRINGS_MAX} strings")
    for string in strings:
        if not _text("stop", string, _STOP_CHARS_MAX):
            raise InvalidQueryError(field="stop", reason="holds an empty string")
    return tuple(strings)

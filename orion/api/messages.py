"""The `messages` of the protocol → question, history and system prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from orion.errors import InvalidQueryError
from orion.types import Role

SYSTEM_ROLES = frozenset({"system", "developer"})
TOOL_ROLES = frozenset({"tool", "function"})
TURN_ROLES = frozenset({str(Role.USER), str(Role.ASSISTANT)})
CALLS = ("tool_calls", "function_call", "audio")
"""Parts of an assistant's turn that nothing here can show the model."""

_HISTORY_TURN = re.compile(r"history\[(\d+)\](.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """`text` is the last user message; `history` holds the turns before it.

    `num_system` leading messages were joined into `system_prompt`.
    """

    text: str
    history: list[dict[str, str]]
    system_prompt: str | None
    num_system: int

    def place_of(self, field: str) -> str:
        """Where in `messages` the engine's `field` came from; any other name as it is."""
        if field in ("text", "message"):
            return f"messages[{self.num_system + len(self.history)}].content"
        if field == "system_prompt":
            return "messages[0].content"
        turn = _HISTORY_TURN.fullmatch(field)
        if turn is not None:
            return f"messages[{self.num_system + int(turn[1])}]{turn[2]}"
        return "messages" if field == "history" else field


def read_messages(value: Any) -> Conversation:
    """`messages` taken apart.

    Raises:
        InvalidQueryError: Not a list of turns that ends with the user's; `field` names
            the message.
    """
    if not isinstance(value, list) or not value:
        _refuse("messages", "must be a list with at least one message")
    systems: list[str] = []
    turns: list[dict[str, str]] = []
    for index, message in enumerate(value):
        where = f"messages[{index}]"
        role = _role(message, where)
        content = _content(message, where)
        if role in SYSTEM_ROLES:
            if turns:
                _refuse(
                    f"{where}.role", f"is {role!r} after the conversation has begun; put it first"
                )
            systems.append(content)
        else:
            turns.append({"role": role, "content": content})
    if not turns or turns[-1]["role"] != Role.USER:
        _refuse(f"messages[{len(value) - 1}].role", "must be 'user' in the last message")
    return Conversation(
        text=turns[-1]["content"],
        history=turns[:-1],
        system_prompt="\n\n".join(systems) if systems else None,
        num_system=len(systems),
    )


def _refuse(field: str, reason: str) -> NoReturn:
    raise InvalidQueryError(field=field, reason=reason)


def _role(message: Any, where: str) -> str:
    if not isinstance(message, dict):
        _refuse(where, "must be an object with `role` and `content`")
    role = message.get("role")
    if not isinstance(role, str):
        _refuse(f"{where}.role", "must be a string")
    if role in TOOL_ROLES:
        _refuse(f"{where}.role", f"is {role!r}: tool calls are not supported")
    if role not in SYSTEM_ROLES | TURN_ROLES:
        _refuse(f"{where}.role", f"is {role[:40]!r}; known: system, developer, user, assistant")
    for name in CALLS:
        if message.get(name):
            _refuse(f"{where}.{name}", "is not supported")
    return role


def _content(message: dict[str, Any], where: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        _refuse(f"{where}.content", "must be a string or a list of text parts")
    return "\n".join(_part(part, f"{where}.content[{index}]") for index, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    if not isinstance(part, dict):
        _refuse(where, "must be an object with `type` and `text`")
    kind = part.get("type")
    if kind != "text":
        _refuse(f"{where}.type", f"is {str(kind)[:40]!r}; only 'text' is supported")
    text = part.get("text")
    if not isinstance(text, str):
        _refuse(f"{where}.text", "must be a string")
    return text

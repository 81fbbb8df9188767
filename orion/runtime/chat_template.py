"""A model's own Jinja chat template, rendered without ever seeing what people wrote."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orion.errors import AgentLoadError, InvalidQueryError
from orion.types import Message, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jinja2 import nodes
    from jinja2.parser import Parser

MAX_TEMPLATE_CHARS = 64_000
_BETWEEN_MERGED = "\n\n"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of the prompt: what the template wrote, or (`is_content`) what a person did."""

    text: str
    is_content: bool


class _RefusedError(Exception):
    """The template would not render this conversation, or lost a part of it."""


class _GenerationTag(Extension):
    """`{% generation %}` marks answers for training; here its body is all that counts."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as an instance attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body, as if the tag were not there."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _tojson(value: Any, indent: int | None = None, *, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _local_now() -> datetime:
    return datetime.now(tz=UTC).astimezone()


class ChatTemplate:
    """The template of one model. Immutable, safe to use from several threads.

    Contents are rendered as unguessable marks and put back afterwards, so nothing a
    person writes is ever read as template output. Where the template refuses a system
    message, its text goes in front of the first user message.

    Raises:
        AgentLoadError: Too long, no Jinja, or it does not deliver a user's message.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str = "",
        eos_token: str = "",
        variables: Mapping[str, str] | None = None,
        model: str = "?",
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            reason = f"its chat template is longer than {MAX_TEMPLATE_CHARS} characters"
            raise AgentLoadError(model=model, reason=reason)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _GenerationTag],
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda pattern: now().strftime(pattern)
        self._variables: dict[str, Any] = {
            **(variables or {}),
            "bos_token": bos_token,
            "eos_token": eos_token,
            "tools": None,
            "documents": None,
        }
        try:
            self._template = environment.from_string(source)
            self._render([Message(role=Role.USER, content="")], add_generation_prompt=True)
        except jinja2.TemplateError as error:
            reason = "its chat template is no valid Jinja"
            raise AgentLoadError(model=model, reason=reason) from error
        except _RefusedError as error:
            raise AgentLoadError(model=model, reason=f"its chat template {error}") from error
        self.accepts_system = self._delivers_system()

    def segments(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[Segment]:
        """The prompt in order, cut where contents begin and end.

        Raises:
            InvalidQueryError: The template refuses this order of roles, or loses a message.
        """
        given = list(messages) if self.accepts_system else merge_system(messages)
        try:
            return self._render(given, add_generation_prompt=add_generation_prompt)
        except _RefusedError as error:
            reason = f"cannot be put to this model: its chat template {error}"
            raise InvalidQueryError(field="history", reason=reason) from error

    def _delivers_system(self) -> bool:
        roles = (Role.SYSTEM, Role.USER)
        try:
            self._render([Message(role=role, content="") for role in roles])
        except _RefusedError:
            return False
        return True

    def _render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[Segment]:
        mark = f"s{secrets.token_hex(16)}n"
        marked = [
            {"role": message.role.value, "content": f"{mark}{index}e"}
            for index, message in enumerate(messages)
        ]
        try:
            text = self._template.render(
                messages=marked, add_generation_prompt=add_generation_prompt, **self._variables
            )
        except Exception as error:  # template code is foreign: it may raise anything
            msg = f"refuses it ({str(error)[:120] or type(error).__name__})"
            raise _RefusedError(msg) from error
        return _cut(text, mark, messages)


def _cut(text: str, mark: str, messages: Sequence[Message]) -> list[Segment]:
    pieces = re.split(f"{mark}([0-9]+)e", text)
    lost = set(range(len(messages))) - {int(index) for index in pieces[1::2]}
    if lost or mark in "".join(pieces[::2]):
        msg = "loses a message"
        raise _RefusedError(msg)
    made = [
        Segment(messages[int(piece)].content if place % 2 else piece, bool(place % 2))
        for place, piece in enumerate(pieces)
    ]
    return [segment for segment in made if segment.text]


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation with a leading system text in front of the first user message."""
    if not messages or messages[0].role is not Role.SYSTEM:
        return list(messages)
    system, *rest = messages
    for index, message in enumerate(rest):
        if message.role is Role.USER:
            content = f"{system.content}{_BETWEEN_MERGED}{message.content}"
            rest[index] = Message(role=Role.USER, content=content)
            return rest
    return [Message(role=Role.USER, content=system.content), *rest]

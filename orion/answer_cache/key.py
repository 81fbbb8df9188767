"""What an answer is known by: a keyed hash over everything that could have changed it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.types import Sampling

SCHEMA_VERSION = 1
_SECRET_BYTES = 32
_DIGEST_BYTES = 32
_SESSION_BYTES = 16
_WHOSE = {"session", "client", "is_single"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything an answer depends on.

    `asked` is who was asked for ("auto", an agent or a model) and `agent` who will answer;
    `model_digest` names the model's files; `messages` are `(role, content)`, the system prompt
    in force among them; `is_single` means without a history or a system prompt of the caller's;
    `rules` are versions of what checks and cleans text.
    """

    session: str | None
    client: str = ""
    asked: str
    agent: str
    model: str
    model_digest: str
    messages: tuple[tuple[str, str], ...]
    sampling: Sampling
    trim_history: bool = False
    is_single: bool = False
    language: str = ""
    rules: tuple[str, ...] = ()

    @property
    def is_deterministic(self) -> bool:
        """Whether the same question has one answer: greedy, or with a seed."""
        return self.sampling.temperature == 0 or self.sampling.seed is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKey:
    """Names one answer. `session` is whose it is, as an opaque key; "": everybody's."""

    digest: bytes
    session: str


class Keyring:
    """Makes keys with a secret of this process, so that none can be guessed from outside.

    `public`: single questions without a history are everybody's.
    """

    def __init__(self, *, public: bool = False) -> None:
        self._public = public
        self._secret = secrets.token_bytes(_SECRET_BYTES)

    def session_key(self, session: str | None) -> str:
        """An opaque name for a session; "" where there is none."""
        if not session:
            return ""
        return self._hash(b"session", canonical(session), _SESSION_BYTES).hex()

    def answer_key(self, question: Question) -> AnswerKey | None:
        """The key of its answer, or None where the answer must be made anew."""
        if not question.is_deterministic:
            return None
        if self._public and question.is_single:
            scope: tuple[str, ...] = ("public",)
            session = ""
        elif question.session:
            scope = ("session", question.session, question.client)
            session = self.session_key(question.session)
        else:
            return None
        told = [_values(part) if is_dataclass(part) else part for part in _values(question)]
        body = canonical([SCHEMA_VERSION, scope, told])
        return AnswerKey(digest=self._hash(b"answer", body, _DIGEST_BYTES), session=session)

    def _hash(self, person: bytes, body: bytes, size: int) -> bytes:
        keyed = hashlib.blake2b(body, key=self._secret, person=person, digest_size=size)
        return keyed.digest()


def _values(part: Any) -> list[Any]:
    """The fields in their order, but for those that say whose question it is."""
    return [getattr(part, field.name) for field in fields(part) if field.name not in _WHOSE]


def canonical(value: Any) -> bytes:
    """Plain values as bytes that no other value has: each part with its type and its length.

    Raises:
        TypeError: Something else than None, booleans, numbers, text, sequences and mappings.
    """
    if value is None or isinstance(value, bool):
        return b"%d" % value if value is not None else b"n"
    if isinstance(value, int | float):
        return _piece(b"i" if isinstance(value, int) else b"f", repr(value).encode())
    if isinstance(value, str):
        return _piece(b"s", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        pairs = [canonical(key) + canonical(item) for key, item in value.items()]
        return _piece(b"m", b"".join(sorted(pairs)))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return _piece(b"l", b"".join(canonical(item) for item in value))
    msg = f"a {type(value).__name__} has no canonical form"
    raise TypeError(msg)


def _piece(tag: bytes, body: bytes) -> bytes:
    return tag + str(len(body)).encode() + b":" + body

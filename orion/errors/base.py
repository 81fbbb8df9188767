"""The base of every error, and how it travels."""

from __future__ import annotations

from typing import Any, ClassVar


class OrionError(Exception):
    """Base of the tree; catch this at the edge (page, API, CLI), nothing wider.

    Attributes:
        code: Stable, low-cardinality label used in logs, metrics and answers.
        status: HTTP status the faces answer with.
        retryable: Whether the same request may succeed later, unchanged.
        facts: What happened, as plain values; also reachable as attributes.
        partial_text: What had been written when an answer failed, for callers who get it whole.
    """

    code: ClassVar[str] = "orion"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    template: ClassVar[str] = "Something went wrong inside ORION."

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.facts = facts
        self.partial_text = ""

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        try:
            return facts[name]
        except KeyError:
            msg = f"{type(self).__name__} has no fact {name!r}"
            raise AttributeError(msg) from None

    @property
    def public_message(self) -> str:
        """A sentence a person can act on: no path, no prompt, no traceback."""
        return self.template.format_map(_Blank(self.facts))

    def __str__(self) -> str:
        return self.public_message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.facts))


class _Blank(dict[str, Any]):
    """Missing facts read as "?", so that making a message never raises."""

    def __missing__(self, key: str) -> str:
        return "?"


def _rebuild(cls: type[OrionError], facts: dict[str, Any]) -> OrionError:
    return cls(**facts)

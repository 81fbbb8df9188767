"""An error that crosses the pipe between two processes."""

from __future__ import annotations

from typing import Any

from orion.errors.agents import GenerationError
from orion.errors.base import OrionError


def error_classes() -> dict[str, type[OrionError]]:
    """Every class of the tree by its code."""
    found: dict[str, type[OrionError]] = {}
    pending: list[type[OrionError]] = [OrionError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found


def error_from_wire(code: str, facts: dict[str, Any]) -> OrionError:
    """The error a child described; an unknown code or odd facts give `GenerationError`."""
    cls = error_classes().get(code)
    if cls is None:
        return GenerationError(reason=str(facts.get("reason", code)))
    try:
        return cls(**facts)
    except (TypeError, ValueError):
        return GenerationError(reason=code)

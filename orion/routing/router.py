"""The seam a router fills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orion.types import Message, Route


class Router(Protocol):
    """Chooses an agent. Pure, quick, and safe from any thread."""

    def route(self, text: str, history: Sequence[Message] = ()) -> Route:
        """The agent for `text`, with a confidence in [0, 1] and scores that sum to 1."""

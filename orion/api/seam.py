"""The part of the engine the HTTP API stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.errors import OrionError
    from orion.logs import Log
    from orion.registry import Registry
    from orion.settings import Settings
    from orion.types import Event


class RenderedMetrics(Protocol):
    """Counters that can be written out."""

    def render(self) -> bytes:
        """The Prometheus text exposition."""

    def refused(self, code: str) -> None:
        """Count a request that was turned away before anything was done for it."""


class ServedEngine(Protocol):
    """What `orion.engine.Engine` offers and the API uses. Thread-safe."""

    @property
    def registry(self) -> Registry:
        """The agents and models."""

    @property
    def settings(self) -> Settings:
        """Limits and sizes."""

    @property
    def metrics(self) -> RenderedMetrics:
        """The counters."""

    @property
    def log(self) -> Log:
        """Where what breaks is written."""

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Event]:
        """Events of one request; the last is a `FinalEvent` or an `ErrorEvent`.

        Arguments are those of `Engine.stream`. Yields at least every quarter of a
        second; closing the generator cancels the request.
        """

    def door(self, client: str = "") -> OrionError | None:
        """What a newcomer of `client` ("": nobody in particular) would hear if none is let in.

        None: it would be. Takes microseconds and waits for nobody; a moment old.
        """

    def retry_after_s(self) -> float:
        """When it is worth coming back, for one who is refused without the engine's knowing."""

    def cancel(self, request_id: str) -> bool:
        """End a request from outside; returns at once."""

    def health(self) -> dict[str, Any]:
        """`{"status", "ready", "reasons"}`."""

"""One protocol for every way of running a runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from orion.protocol import Frame

OnFrame = Callable[[str, Frame], None]
"""Called with the worker's id and a frame, from the worker's reader thread."""

OnExit = Callable[[str, int | None, str], None]
"""Called once with the worker's id, its exit status and the end of what it wrote to
standard error, after the last frame."""


class Worker(Protocol):
    """A runtime on the other side of a pipe. Methods never block on the worker."""

    @property
    def id(self) -> str:
        """Name within this engine, such as `w3`."""

    @property
    def pid(self) -> int | None:
        """Process id; None when it is no process of its own."""

    def send(self, frame: Frame) -> None:
        """Queue a frame for the worker; lost when it is gone."""

    def close(self) -> None:
        """Close the pipe: the worker ends by itself."""

    def terminate(self) -> None:
        """Ask the system to end it: SIGTERM, which native code does not notice."""

    def kill(self) -> None:
        """End it now, whatever it does."""

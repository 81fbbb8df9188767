"""A worker in threads of this process: for ZeroGPU, notebooks and unit tests."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from orion.protocol import Exit
from orion.runtime.child import make_runtime
from orion.runtime.loop import WorkerLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.protocol import Frame
    from orion.workers.base import OnExit, OnFrame


class InProcessWorker:
    """The same loop as in a child, fed by a queue instead of a pipe.

    Its memory comes back only when the runtime lets go of it, and `kill` can do no
    more than ask: a thread cannot be ended from outside.
    """

    def __init__(self, worker_id: str, runtime: str, on_frame: OnFrame, on_exit: OnExit) -> None:
        self.id = worker_id
        self.pid: int | None = None
        self._on_frame = on_frame
        self._on_exit = on_exit
        self._inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._loop = WorkerLoop(lambda: make_runtime(runtime), self._receive)
        threading.Thread(target=self._run, name=f"orion-{worker_id}", daemon=True).start()

    def send(self, frame: Frame) -> None:
        """Hand a frame to the loop."""
        self._inbox.put(frame)

    def close(self) -> None:
        """Ask the loop to end."""
        self._inbox.put(Exit())

    def terminate(self) -> None:
        """The same as `close`."""
        self._inbox.put(Exit())

    def kill(self) -> None:
        """The same as `close`."""
        self._inbox.put(Exit())

    def _frames(self) -> Iterator[Frame]:
        while True:
            yield self._inbox.get()

    def _receive(self, frame: Frame) -> None:
        self._on_frame(self.id, frame)

    def _run(self) -> None:
        try:
            self._loop.run(self._frames())
        finally:
            self._on_exit(self.id, self._loop.exit_code, "")

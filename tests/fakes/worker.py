"""Workers without a process: a test says what they say and when they go."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from orion.protocol import Exit, Frame, Load, Loaded, Ready

if TYPE_CHECKING:
    from orion.workers import OnExit, OnFrame


class FakeWorker:
    """Remembers what it was sent. Polite: it leaves when told to."""

    def __init__(
        self, worker_id: str, runtime: str, on_frame: OnFrame, on_exit: OnExit, *, polite: bool
    ) -> None:
        self.id = worker_id
        self.runtime = runtime
        self.pid: int | None = None
        self.terminated = threading.Event()
        self.sent: list[Frame] = []
        self.polite = polite
        self.killed = threading.Event()
        self.closed = threading.Event()
        self.gone = False
        self._on_frame = on_frame
        self._on_exit = on_exit

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)
        if isinstance(frame, Exit) and self.polite:
            self.exit(0)

    def close(self) -> None:
        self.closed.set()

    def terminate(self) -> None:
        self.terminated.set()
        if self.polite:
            self.exit(-15)

    def kill(self) -> None:
        self.killed.set()
        if self.polite:
            self.exit(-9)

    def say(self, *frames: Frame) -> None:
        """Frames to the dispatcher, as a reader thread would hand them on."""
        for frame in frames:
            self._on_frame(self.id, frame)

    def exit(self, code: int, tail: str = "") -> None:
        """The process ends."""
        if not self.gone:
            self.gone = True
            self._on_exit(self.id, code, tail)

    def is_ready(self) -> None:
        self.say(Ready(pid=1, runtime="fake", seconds=0.1))

    def has_loaded(self, slots: int = 2) -> None:
        """Answer the load it was sent."""
        load = self.received(Load)[-1]
        self.say(
            Loaded(
                model=load.model,
                slots=slots,
                context_tokens=100,
                memory_bytes=1000,
                seconds=0.1,
            )
        )

    def received(self, kind: type[Any]) -> list[Any]:
        """Frames of one kind it was sent."""
        return [frame for frame in self.sent if isinstance(frame, kind)]


class Works:
    """Starts fake workers; `polite` and `refusing` hold for those to come."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.polite = True
        self.refusing: BaseException | None = None

    def __call__(
        self, worker_id: str, runtime: str, on_frame: OnFrame, on_exit: OnExit
    ) -> FakeWorker:
        if self.refusing is not None:
            raise self.refusing
        worker = FakeWorker(worker_id, runtime, on_frame, on_exit, polite=self.polite)
        self.workers.append(worker)
        return worker

    def __getitem__(self, index: int) -> FakeWorker:
        return self.workers[index]

    def __len__(self) -> int:
        return len(self.workers)

    def close(self) -> None:
        """Everyone leaves."""
        for worker in self.workers:
            worker.polite = True
            worker.exit(0)

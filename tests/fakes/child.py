"""A real worker process, with hands on both ends of its pipe."""

from __future__ import annotations

import queue
import time
from typing import Any

from orion.protocol import Frame, Heartbeat, Load
from orion.registry import load_registry
from orion.settings import PACKAGE_ROOT
from orion.workers import SpawnedWorker

LIMIT_S = 60.0
MODEL = "smollm2-135m-instruct"


class Child:
    """One worker; its frames in the order they came, and how it ended."""

    def __init__(self, runtime: str) -> None:
        self._heard: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.exit_code: int | None = None
        self.errors = ""
        self.worker = SpawnedWorker("w1", runtime, self._on_frame, self._on_exit)

    def _on_frame(self, _worker: str, frame: Frame) -> None:
        self._heard.put(frame)

    def _on_exit(self, _worker: str, exit_code: int | None, errors: str) -> None:
        self.exit_code, self.errors = exit_code, errors
        self._heard.put(None)

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            self.worker.send(frame)

    def until(self, *kinds: type[Any], limit_s: float = LIMIT_S) -> list[Any]:
        """Frames up to the first of one of `kinds`; heartbeats only where they are asked for."""
        until_s = time.monotonic() + limit_s
        heard: list[Any] = []
        while not (heard and isinstance(heard[-1], kinds)):
            frame = self._heard.get(timeout=max(0.01, until_s - time.monotonic()))
            assert frame is not None, f"gone ({self.exit_code}) after {heard[-3:]}: {self.errors}"
            if not isinstance(frame, Heartbeat) or Heartbeat in kinds:
                heard.append(frame)
        return heard

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        """Its exit status, once it has gone."""
        until_s = time.monotonic() + limit_s
        while self._heard.get(timeout=max(0.01, until_s - time.monotonic())) is not None:
            pass
        return self.exit_code

    def end(self) -> None:
        """Kill it, whatever it does, and wait until it has gone."""
        gone = self.exit_code is not None
        self.worker.kill()
        if not gone:
            self.wait()


def embedded(home: Any, runtime: str, *, slots: int = 4) -> Load:
    """A load of the embedded model on `runtime`."""
    model = load_registry(PACKAGE_ROOT / "models.json").models[MODEL]
    variants = {str(variant.runtime): variant for variant in model.variants}
    source = variants["llamacpp"].model_dump(mode="json")
    return Load(
        model=MODEL,
        variant=variants[runtime].model_dump(mode="json"),
        home=str(home),
        slots=slots,
        context_tokens=4096,
        threads=2,
        options={"import_from": source},
    )

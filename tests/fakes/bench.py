"""A worker's loop in a thread, with hands on both ends of its pipe."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from orion.protocol import Frame, Generate, Load, Loaded, encode
from orion.runtime.base import Generated, Job, LoadedModel, LoadSpec, Output, Progress
from orion.runtime.loop import WorkerLoop
from orion.types import FinishReason
from tests.fakes.runtime import FakeRuntime

LIMIT_S = 10.0
NEVER_S = 1000.0
LOAD = Load(model="m", variant={}, home="/tmp", slots=2, context_tokens=100, threads=1, kv_bytes=9)


def generate(text: str, request_id: str = "r1", **given: Any) -> Generate:
    """A question to the fake runtime; its words are the script."""
    return Generate(request_id=request_id, messages=[["user", text]], sampling={}, **given)


class Bench:
    """A loop in a thread, with hands on both ends of its pipe."""

    def __init__(
        self, make: Callable[[], Any] = FakeRuntime, *, heartbeat_s: float = NEVER_S
    ) -> None:
        self.inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.loop = WorkerLoop(make, self._send, heartbeat_s=heartbeat_s)
        self.thread = threading.Thread(target=self.loop.run, args=(self._frames(),), daemon=True)
        self.thread.start()

    def _send(self, frame: Frame) -> None:
        encode(frame)  # as the pipe does: what cannot travel is refused here
        self.outbox.put(frame)

    def _frames(self) -> Iterator[Frame]:
        while (frame := self.inbox.get()) is not None:
            yield frame

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            self.inbox.put(frame)

    def load(self, **given: Any) -> list[Frame]:
        """What is said until the model is there."""
        self.say(replace(LOAD, **given))
        return self.until(Loaded)

    def until(self, *kinds: type[Any]) -> list[Frame]:
        """Frames up to the first of one of `kinds`."""
        until_s = time.monotonic() + LIMIT_S
        heard = [self.outbox.get(timeout=LIMIT_S)]
        while not isinstance(heard[-1], kinds):
            heard.append(self.outbox.get(timeout=max(0.01, until_s - time.monotonic())))
            assert time.monotonic() < until_s, f"no {kinds} in time"
        return heard

    def end(self) -> list[Frame]:
        """What is still said once the pipe is closed and the loop has returned."""
        self.inbox.put(None)
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        heard = []
        while not self.outbox.empty():
            heard.append(self.outbox.get())
        return heard


class Scripted(FakeRuntime):
    """A runtime whose steps are handed in."""

    def __init__(
        self,
        *,
        warm: Callable[[], None] = lambda: None,
        load: Callable[[LoadSpec, Progress], LoadedModel] | None = None,
        answer: Callable[[Job, Output], Generated] | None = None,
    ) -> None:
        super().__init__()
        self._warm, self._load, self._answer = warm, load, answer
        self.closed = 0

    def warm_up(self) -> None:
        self._warm()

    def load(self, spec: LoadSpec, progress: Progress) -> LoadedModel:
        return (self._load or super().load)(spec, progress)

    def generate(self, job: Job, output: Output) -> Generated:
        return (self._answer or super().generate)(job, output)

    def close(self) -> None:
        self.closed += 1


def raising(error: BaseException) -> Callable[..., Any]:
    def step(*arguments: object) -> None:
        raise error

    return step


def generated(**given: Any) -> Generated:
    """The end of an answer at its limit, which may be without text."""
    base: dict[str, Any] = {"prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 1}
    times = {"prefill_s": 0.0, "decode_s": 0.0}
    ended = {"finish_reason": FinishReason.LENGTH}
    return Generated(**{**ended, **base, **times, **given})

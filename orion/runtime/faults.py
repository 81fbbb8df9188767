"""Faults acted out on purpose, the same for every runtime; see `orion.types.FaultKind`."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from orion.errors import AgentLoadError, GenerationError, WorkerDiedError
from orion.types import FaultKind

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from orion.errors import OrionError
    from orion.runtime.base import Output, Progress

SLOW_PIECE_S = 1.0
"""What `slow` puts before every piece of an answer, in seconds."""

SLOW_LOAD_S = 10.0
"""What `slow` puts before a load, in seconds; progress is told meanwhile."""

_STEP_S = 0.05
_PROGRESS_EVERY_S = 0.25
_MORE_THAN_ANY_MACHINE_BYTES = 1 << 62
_REASON = "injected"


class FaultActor:
    """Acts out one fault before the work it is meant for, or beside it.

    `fail` raises; `slow` goes on, a second a piece or ten seconds a load; `hang` neither
    moves nor obeys until `released` is set; `oom` asks for more memory than there is;
    `kill` ends the process by SIGKILL, or raises where the process is not the worker's.
    """

    def __init__(self, *, own_process: bool, released: threading.Event) -> None:
        self._own_process = own_process
        self._released = released

    def on_load(self, kind: str, model: str, progress: Progress) -> None:
        """Act before a load.

        Raises:
            AgentLoadError: `fail`, a `kill` that may not kill, or a kind nobody knows.
            MemoryError: `oom`.
        """

        def refuse(reason: str) -> OrionError:
            return AgentLoadError(model=model, reason=reason)

        if self._is_slow(kind, refuse, died=refuse("its process ended while loading")):
            until_s = time.monotonic() + SLOW_LOAD_S
            while time.monotonic() < until_s and not self._released.wait(_PROGRESS_EVERY_S):
                progress("initializing", None)

    def on_generate(self, kind: str, model: str, output: Output) -> Output:
        """Act before an answer; returns where the runtime is to put it.

        Raises:
            GenerationError: `fail`, a `kill` that may not kill, or a kind nobody knows.
            MemoryError: `oom`.
        """

        def refuse(reason: str) -> OrionError:
            return GenerationError(reason=reason)

        died = WorkerDiedError(model=model, exit_code=-int(signal.SIGKILL))
        return _SlowOutput(output) if self._is_slow(kind, refuse, died=died) else output

    def _is_slow(self, kind: str, refuse: Callable[[str], OrionError], *, died: OrionError) -> bool:
        if not kind:
            return False
        try:
            fault = FaultKind(kind)
        except ValueError:
            reason = f"there is no fault {kind[:40]!r}"
            raise refuse(reason) from None
        if fault is FaultKind.OOM:
            bytearray(_MORE_THAN_ANY_MACHINE_BYTES)
        elif fault is FaultKind.HANG:
            self._released.wait()
        elif fault is FaultKind.KILL:
            if self._own_process:
                os.kill(os.getpid(), signal.SIGKILL)
            raise died
        elif fault is FaultKind.SLOW:
            return True
        raise refuse(_REASON)


class _SlowOutput:
    """An output before which every piece waits; a stop ends the waiting."""

    def __init__(self, output: Output) -> None:
        self._output = output

    @property
    def stopped(self) -> bool:
        return self._output.stopped

    def started(self, *, prompt_tokens: int, trimmed_messages: int) -> None:
        self._output.started(prompt_tokens=prompt_tokens, trimmed_messages=trimmed_messages)

    def prefilling(self, read_tokens: int, prompt_tokens: int) -> None:
        self._output.prefilling(read_tokens, prompt_tokens)

    def piece(self, text: str, num_tokens: int) -> None:
        until_s = time.monotonic() + SLOW_PIECE_S
        while time.monotonic() < until_s and not self.stopped:
            time.sleep(_STEP_S)
        self._output.piece(text, num_tokens)

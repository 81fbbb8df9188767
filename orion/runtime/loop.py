"""What a worker does with the frames it gets; the same in a process and in a thread."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orion.errors import (
    AgentLoadError,
    EmptyAnswerError,
    GenerationError,
    OrionError,
    OutOfMemoryError,
)
from orion.protocol import (
    Done,
    Exit,
    Failed,
    FrameError,
    Generate,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Ready,
    Stop,
)
from orion.runtime.base import Job, LoadSpec
from orion.runtime.failure import is_out_of_memory, one_line, plain_facts, trace_of
from orion.runtime.faults import FaultActor
from orion.runtime.memory import rss_bytes
from orion.runtime.output import JobOutput
from orion.types import FinishReason, Message, Role, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orion.protocol import Frame
    from orion.runtime.base import Generated, Runtime

_JOIN_LIMIT_S = 1.0


class WorkerLoop:
    """Frames in → the runtime → frames out, with one thread per answer and one for the load.

    Heartbeats come from a thread of their own, so they go on while a job hangs. The
    process is `own_process` where nobody else lives in it: only there may a fault kill it.
    """

    def __init__(
        self,
        make_runtime: Callable[[], Runtime],
        send: Callable[[Frame], None],
        *,
        heartbeat_s: float = 0.2,
        own_process: bool = False,
    ) -> None:
        self._make_runtime = make_runtime
        self._send = send
        self._heartbeat_s = heartbeat_s
        self._runtime: Runtime | None = None
        self._jobs: dict[str, JobOutput] = {}
        self._threads: list[threading.Thread] = []
        self._finished_tokens = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._faults = FaultActor(own_process=own_process, released=self._closing)
        self._model = ""
        self.exit_code = 0

    def run(self, frames: Iterable[Frame]) -> None:
        """Serve until `Exit` or the end of `frames`; returns with everything stopped."""
        begun_s = time.monotonic()
        try:
            runtime = self._make_runtime()
            runtime.warm_up()
        except Exception as error:  # noqa: BLE001 - a runtime may raise anything; the parent is told
            self._report_load_failure("", error)
            self.exit_code = 3
            return
        self._runtime = runtime
        self._send(Ready(pid=os.getpid(), runtime=runtime.name, seconds=time.monotonic() - begun_s))
        self._start(self._beat)
        try:
            for frame in frames:
                if isinstance(frame, Exit):
                    break
                self._handle(frame)
        finally:
            self._close()

    def _handle(self, frame: Frame) -> None:
        if isinstance(frame, Load):
            self._model = frame.model
            self._start(self._load, frame)
        elif isinstance(frame, Generate):
            output = JobOutput(
                frame.request_id, self._send, frame.interval_s, deadline_s=frame.deadline_s
            )
            with self._lock:
                self._jobs[frame.request_id] = output
            self._start(self._generate, frame, output)
        elif isinstance(frame, Stop):
            with self._lock:
                output_or_none = self._jobs.get(frame.request_id)
            if output_or_none:
                output_or_none.stop()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads = [known for known in self._threads if known.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _load(self, frame: Load) -> None:
        assert self._runtime
        begun_s = time.monotonic()
        spec = LoadSpec(
            model=frame.model,
            variant=frame.variant,
            home=Path(frame.home),
            slots=frame.slots,
            context_tokens=frame.context_tokens,
            threads=frame.threads,
            kv_bytes=frame.kv_bytes,
            begin=frame.begin,
            options=frame.options,
        )
        try:
            self._faults.on_load(frame.fault, frame.model, self._report_progress)
            loaded = self._runtime.load(spec, self._report_progress)
            self._send(
                Loaded(
                    model=frame.model,
                    slots=loaded.slots,
                    context_tokens=loaded.context_tokens,
                    memory_bytes=rss_bytes(),
                    seconds=time.monotonic() - begun_s,
                    details=loaded.details,
                )
            )
        except BaseException as error:  # noqa: BLE001 - a panic of native code is no Exception
            self._report_load_failure(frame.model, error)

    def _report_progress(self, phase: str, ratio: float | None) -> None:
        self._send(LoadProgress(phase=phase, ratio=ratio))

    def _report_load_failure(self, model: str, error: BaseException) -> None:
        told = error
        if not isinstance(told, OrionError):
            reason = "not enough memory" if is_out_of_memory(error) else one_line(error)
            told = AgentLoadError(model=model, reason=reason)
        facts = plain_facts(told)
        self._send(LoadFailed(model=model, code=told.code, facts=facts, detail=trace_of(error)))

    def _generate(self, frame: Generate, output: JobOutput) -> None:
        assert self._runtime
        try:
            job = _job(frame)
            taking = self._faults.on_generate(frame.fault, self._model, output)
            done = self._runtime.generate(job, taking)
            if _is_empty(done, output, job.sampling):
                raise EmptyAnswerError(model=self._model)  # noqa: TRY301 - a result that is a failure
            output.flush()
            self._send(
                Done(
                    request_id=frame.request_id,
                    finish_reason=str(done.finish_reason),
                    prompt_tokens=done.prompt_tokens,
                    cached_tokens=done.cached_tokens,
                    completion_tokens=done.completion_tokens,
                    prefill_s=done.prefill_s,
                    decode_s=done.decode_s,
                )
            )
        except BaseException as error:  # noqa: BLE001 - as above
            self._report_failure(frame.request_id, output, error)
        finally:
            with self._lock:
                self._jobs.pop(frame.request_id, None)
                self._finished_tokens += output.num_tokens

    def _report_failure(self, request_id: str, output: JobOutput, error: BaseException) -> None:
        with suppress(FrameError):  # what is held back may be the very thing that cannot travel
            if output.is_visible:
                output.flush()
        if isinstance(error, OrionError):
            told = error
        elif is_out_of_memory(error):
            told = OutOfMemoryError(reason="there is not enough memory for this answer")
        else:
            told = GenerationError(reason=one_line(error))
        facts = plain_facts(told)
        self._send(
            Failed(request_id=request_id, code=told.code, facts=facts, detail=trace_of(error))
        )

    def _beat(self) -> None:
        while not self._closing.wait(self._heartbeat_s):
            with self._lock:
                active = len(self._jobs)
                num_tokens = self._finished_tokens + sum(
                    output.num_tokens for output in self._jobs.values()
                )
            self._send(Heartbeat(rss_bytes=rss_bytes(), num_tokens=num_tokens, active=active))

    def _close(self) -> None:
        self._closing.set()
        with self._lock:
            outputs = list(self._jobs.values())
        for output in outputs:
            output.stop()
        until_s = time.monotonic() + _JOIN_LIMIT_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        if self._runtime and not any(thread.is_alive() for thread in self._threads):
            self._runtime.close()


def _job(frame: Generate) -> Job:
    sampling = {**frame.sampling, "stop": tuple(frame.sampling.get("stop", ()))}
    return Job(
        request_id=frame.request_id,
        messages=tuple(Message(role=Role(role), content=text) for role, text in frame.messages),
        sampling=Sampling(**sampling),
        trim_history=frame.trim_history,
        session=frame.session,
        shared_messages=frame.shared_messages,
    )


def _is_empty(done: Generated, output: JobOutput, sampling: Sampling) -> bool:
    """Whether the model ended its turn by itself without a word to show.

    A stop string met at once is what its caller asked for, so where there are any, only an
    answer of no token at all counts.
    """
    if done.finish_reason is not FinishReason.STOP or output.is_visible or output.stopped:
        return False
    return not sampling.stop or done.completion_tokens == 0

"""The workers there are: started, loaded, kept spare, ended. Dispatcher thread only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from orion.errors import AgentLoadError
from orion.protocol import Exit

if TYPE_CHECKING:
    from orion.clock import Clock
    from orion.dispatcher.job import Job
    from orion.errors import OrionError
    from orion.protocol import Heartbeat, Load, Loaded
    from orion.workers import OnExit, OnFrame, Worker

StartWorker = Callable[[str, str, "OnFrame", "OnExit"], "Worker"]
"""Worker id, dotted runtime class, callbacks → a started worker; may raise OSError."""

_KILL_AFTER_S = 0.3
_SPARE_PAUSE_MAX_S = 60.0


class WorkerState(StrEnum):
    """What a worker is doing."""

    STARTING = "starting"
    SPARE = "spare"
    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How a model will be made resident: the class that runs it and the frame to send.

    `need_bytes` is what it is expected to take, weights and attention states; 0 is not known.
    """

    model: str
    runtime: str
    runtime_class: str
    variant: str
    load: Load
    need_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class WorkerRecord:
    """One worker and what the dispatcher knows of it.

    `heartbeat`, `heard_s`, `posted` and `strays` are written by the worker's reader thread.
    """

    worker: Worker
    runtime_class: str
    state: WorkerState = WorkerState.STARTING
    plan: LoadPlan | None = None
    loaded: Loaded | None = None
    load_began_s: float = 0.0
    loaded_at_s: float = 0.0
    progress_s: float = 0.0
    started_s: float = 0.0
    kill_at_s: float | None = None
    killed_at_s: float | None = None
    cause: OrionError | None = None
    suspect: bool = True
    renewing: bool = False
    dismissed: bool = False
    was_spare: bool = False
    heartbeat: Heartbeat | None = None
    heard_s: float = 0.0
    pulse_s: float = 0.0
    cpu_s: float = 0.0
    busy_s: float = 0.0
    stopped: bool = False
    suspected_s: float | None = None
    deaf_since_s: float | None = None
    posted: int = 0
    handled: int = 0
    strays: int = 0
    distrusted: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)


class WorkerFloor:
    """Where the workers stand."""

    def __init__(
        self, start_worker: StartWorker, *, clock: Clock, exit_limit_s: float = 2.0
    ) -> None:
        self._start_worker = start_worker
        self._clock = clock
        self._exit_limit_s = exit_limit_s
        self._next = 1
        self._spare_failures = 0
        self._spare_due_s = 0.0
        self._callbacks: tuple[OnFrame, OnExit] | None = None
        self.records: dict[str, WorkerRecord] = {}

    def connect(self, on_frame: OnFrame, on_exit: OnExit) -> None:
        """Where frames and exits go; called from reader threads."""
        self._callbacks = (on_frame, on_exit)

    def holder(self, model: str) -> WorkerRecord | None:
        """The worker that holds, loads or lets go of `model`."""
        for record in self.records.values():
            if record.plan is not None and record.plan.model == model:
                return record
        return None

    def load(self, plan: LoadPlan, *, fresh: bool = False) -> None:
        """Give the plan to a spare of the right kind, or to a new worker (`fresh`: always).

        Raises:
            AgentLoadError: No process could be started.
        """
        spare = None if fresh else self._spare(plan.runtime_class)
        record = spare or self._start(plan.model, plan.runtime_class)
        record.was_spare = spare is not None
        record.plan = plan
        record.state = WorkerState.LOADING
        record.load_began_s = record.progress_s = self._clock.now()
        record.worker.send(plan.load)

    def end(self, record: WorkerRecord, *, within_s: float | None = None) -> None:
        """Ask a worker to leave; it is killed if it does not in time."""
        record.state = WorkerState.LEAVING
        limit_s = self._exit_limit_s if within_s is None else within_s
        record.kill_at_s = self._clock.now() + limit_s
        record.worker.send(Exit())
        record.worker.close()

    def kill(self, record: WorkerRecord) -> None:
        """End a worker now: SIGTERM, and SIGKILL if that is not enough."""
        now_s = self._clock.now()
        if record.killed_at_s is None:
            record.killed_at_s = now_s
            # A stopped process takes no notice of SIGTERM: there is nothing to wait for.
            record.kill_at_s = now_s if record.stopped else now_s + _KILL_AFTER_S
            record.worker.terminate()

    def gone(self, worker_id: str) -> WorkerRecord | None:
        """Forget a worker whose process ended."""
        record = self.records.pop(worker_id, None)
        if record is not None and record.plan is None and record.state is not WorkerState.LEAVING:
            self._spare_failed()
        return record

    def kill_overdue(self) -> None:
        """Kill those that were asked to leave and did not."""
        now_s = self._clock.now()
        for record in self.records.values():
            if record.kill_at_s is not None and now_s >= record.kill_at_s:
                record.kill_at_s = None
                record.killed_at_s = record.killed_at_s or now_s
                record.worker.kill()

    def spare_is_ready(self) -> None:
        """A spare has come up: what was wrong with earlier ones is over."""
        self._spare_failures = 0

    def keep_spares(self, runtime_class: str, wanted: int) -> None:
        """Have `wanted` idle workers of one kind; waits longer after each that died early."""
        if self._clock.now() < self._spare_due_s:
            return
        spares = sum(
            record.plan is None and record.state is not WorkerState.LEAVING
            for record in self.records.values()
        )
        for _ in range(wanted - spares):
            try:
                self._start("spare", runtime_class)
            except (AgentLoadError, RuntimeError):  # no process, or no thread to read from it
                self._spare_failed()
                return

    def _spare_failed(self) -> None:
        self._spare_failures += 1
        pause_s = min(_SPARE_PAUSE_MAX_S, 2.0 ** min(self._spare_failures, 16) / 2)
        self._spare_due_s = self._clock.now() + pause_s

    def _spare(self, runtime_class: str) -> WorkerRecord | None:
        for record in self.records.values():
            if (
                record.plan is None
                and record.state is not WorkerState.LEAVING
                and record.runtime_class == runtime_class
                and not (record.killed_at_s is not None or record.distrusted or record.stopped)
            ):
                return record
        return None

    def _start(self, model: str, runtime_class: str) -> WorkerRecord:
        assert self._callbacks
        worker_id = f"w{self._next}"
        self._next += 1
        try:
            worker = self._start_worker(worker_id, runtime_class, *self._callbacks)
        except OSError as error:
            reason = f"no process could be started ({error.strerror})"
            raise AgentLoadError(model=model, reason=reason) from error
        now_s = self._clock.now()
        record = WorkerRecord(
            worker=worker, runtime_class=runtime_class, started_s=now_s, heard_s=now_s
        )
        self.records[worker_id] = record
        return record

"""What comes from the workers: frames and the ends of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.dispatcher.floor import WorkerState
from orion.dispatcher.ticket import Loading
from orion.errors import AgentLoadError, OrionError, WorkerDiedError, error_from_wire
from orion.protocol import (
    Delta,
    Done,
    Failed,
    Frame,
    Heartbeat,
    Loaded,
    LoadFailed,
    LoadProgress,
    Prefilling,
    Ready,
    Started,
)

if TYPE_CHECKING:
    from orion.dispatcher.desk import Desk
    from orion.dispatcher.floor import WorkerRecord

_STRAYS_MAX = 1000
_UNHANDLED_MAX = 1000


class Arrivals:
    """Hands text straight on and brings everything else to the dispatcher thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def frame_arrived(self, worker_id: str, frame: Frame) -> None:
        """Reader threads call this."""
        record = self._desk.floor.records.get(worker_id)
        if record is None:  # it speaks while it is being entered; or it has gone
            self._desk.post(lambda: self._on_frame(worker_id, frame))
            return
        if record.distrusted:
            return
        record.heard_s = self._desk.clock.now()
        if isinstance(frame, Heartbeat):
            record.heartbeat = frame
        elif isinstance(frame, Delta | Started | Prefilling):
            self._on_text(record, frame)
        elif record.posted - record.handled >= _UNHANDLED_MAX:
            self._distrust(record, "it sends frames faster than they can be looked at")
        else:
            record.posted += 1
            self._desk.post(lambda: self._on_frame(worker_id, frame))

    def worker_exited(self, worker_id: str, exit_code: int | None, tail: str) -> None:
        """Reader threads call this, once, after the last frame."""
        self._desk.post(lambda: self._on_exit(worker_id, exit_code, tail))

    def _on_text(self, record: WorkerRecord, frame: Delta | Started | Prefilling) -> None:
        job = record.jobs.get(frame.request_id)
        if job is None:
            record.strays += 1
            if record.strays > _STRAYS_MAX:
                self._distrust(record, "it sends text that nobody asked for")
            return
        complaint = job.took(frame, record.heard_s)
        if complaint is None:
            job.ticket.deliver(job, frame)
        else:
            self._distrust(record, complaint)

    def _distrust(self, record: WorkerRecord, reason: str) -> None:
        """End a worker that breaks the rules; its exit tells those who wait."""
        record.distrusted = True
        record.worker.kill()
        worker = record.worker.id
        self._desk.log.error("worker.distrusted", worker=worker, reason=reason)

    def _on_frame(self, worker_id: str, frame: Frame) -> None:
        record = self._desk.floor.records.get(worker_id)
        if record is None:
            return
        record.handled += 1
        if isinstance(frame, Done | Failed):
            self._on_job_end(record, frame)
        elif isinstance(frame, LoadProgress):
            self._on_progress(record, frame)
        elif isinstance(frame, Loaded):
            self._on_loaded(record, frame)
        elif isinstance(frame, LoadFailed):
            self._on_load_failed(record, frame)
        elif isinstance(frame, Ready):
            self._on_ready(record)

    def _on_ready(self, record: WorkerRecord) -> None:
        self._desk.floor.spare_is_ready()
        if record.state is WorkerState.STARTING:
            record.state = WorkerState.SPARE

    def _on_job_end(self, record: WorkerRecord, frame: Done | Failed) -> None:
        error = None if isinstance(frame, Done) else error_from_wire(frame.code, frame.facts)
        job = record.jobs.pop(frame.request_id, None)
        if job is None:
            return
        if isinstance(frame, Done):
            self._desk.outcomes.finished(job, frame)
            return
        assert error
        if not job.over:
            detail = "a fault was injected" if job.injected else frame.detail
            self._desk.log.warning(
                "generate.failed", request_id=job.ticket.name, code=frame.code, detail=detail
            )
        self._desk.outcomes.broke(job, error)

    def _on_progress(self, record: WorkerRecord, frame: LoadProgress) -> None:
        record.progress_s = self._desk.clock.now()
        if record.plan is None:
            return
        waiting = self._desk.scheduler.waiting_for(record.plan.model)
        for request_id in waiting[: self._desk.limits.default_slots]:
            self._desk.tickets[request_id].put(Loading(phase=frame.phase, ratio=frame.ratio))

    def _on_loaded(self, record: WorkerRecord, frame: Loaded) -> None:
        if record.plan is None or record.state is not WorkerState.LOADING:
            return
        desk = self._desk
        record.loaded = frame
        record.loaded_at_s = desk.clock.now()
        record.state = WorkerState.READY
        desk.log.info(
            "load.finished",
            model=frame.model,
            worker=record.worker.id,
            load_s=round(frame.seconds, 3),
            memory_bytes=frame.memory_bytes,
        )
        desk.load_ended(record.plan.model)
        desk.scheduler.on_loaded(record.plan.model, max(1, frame.slots), frame.memory_bytes)

    def _on_load_failed(self, record: WorkerRecord, frame: LoadFailed) -> None:
        desk = self._desk
        desk.log.warning("load.failed", model=frame.model, code=frame.code, detail=frame.detail)
        if record.plan is None:  # a spare that could not import what it needs; its exit follows
            return
        if record.state is not WorkerState.LOADING:
            self._distrust(record, "it says that a load failed which had ended")
            return
        model, record.plan = record.plan.model, None
        desk.floor.end(record)
        # A worker that fails before its load has come does not know the model.
        facts = frame.facts if frame.model else {**frame.facts, "model": model}
        desk.load_failed(model, error_from_wire(frame.code, facts))

    def _on_exit(self, worker_id: str, exit_code: int | None, tail: str) -> None:
        desk = self._desk
        record = desk.floor.gone(worker_id)
        if record is None:
            return
        asked = record.state is WorkerState.LEAVING and record.cause is None
        if not asked:
            desk.log.error(
                "worker.died",
                worker=worker_id,
                pid=record.worker.pid,
                model=record.plan.model if record.plan else None,
                exit_code=exit_code,
                lost=[job.ticket.name for job in record.jobs.values() if not job.over],
                detail=tail,
            )
            desk.tally.deaths += 1
        if record.plan is None:
            return
        model = record.plan.model
        if record.state is WorkerState.LOADING:
            untouched = record.progress_s == record.load_began_s and not record.plan.load.fault
            if record.was_spare and untouched:
                desk.log.warning("load.moved", model=model, worker=worker_id)
                desk.load_afresh(record.plan)
                return
            reason = f"its process ended while loading (exit code {exit_code})"
            if record.cause is not None:
                reason = "its process did not respond while loading and was ended"
            desk.load_failed(model, AgentLoadError(model=model, reason=reason))
            return
        if (not asked or record.renewing) and not record.dismissed:
            bring_back = desk.revival.wanted if asked else desk.revival.lost
            bring_back(model, desk.clock.now())
            desk.tally.restarts[model] = desk.tally.restarts.get(model, 0) + 1
        error: OrionError = record.cause or WorkerDiedError(model=model, exit_code=exit_code)
        desk.outcomes.lost(record, error, suspect=record.suspect and not asked)

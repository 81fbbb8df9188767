"""What comes from the workers: frames and the ends of processes."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from orion.dispatcher.floor import WorkerState
from orion.dispatcher.ticket import Ended, Loading
from orion.errors import AgentLoadError, WorkerDiedError, error_from_wire
from orion.protocol import (
    Delta,
    Done,
    Failed,
    Frame,
    Loaded,
    LoadFailed,
    LoadProgress,
    Ready,
    Started,
)

if TYPE_CHECKING:
    from orion.dispatcher.desk import Desk
    from orion.dispatcher.floor import WorkerRecord

_SERVICE_WEIGHT = 0.2


class Arrivals:
    """Hands text straight on and brings everything else to the dispatcher thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def frame_arrived(self, worker_id: str, frame: Frame) -> None:
        """Reader threads call this."""
        if isinstance(frame, Delta | Started):
            record = self._desk.floor.records.get(worker_id)
            ticket = record.jobs.get(frame.request_id) if record else None
            if ticket is not None and not ticket.ended:
                ticket.put(frame)
            return
        self._desk.post(lambda: self._on_frame(worker_id, frame))

    def worker_exited(self, worker_id: str, exit_code: int | None, tail: str) -> None:
        """Reader threads call this, once, after the last frame."""
        self._desk.post(lambda: self._on_exit(worker_id, exit_code, tail))

    def _on_frame(self, worker_id: str, frame: Frame) -> None:
        record = self._desk.floor.records.get(worker_id)
        if record is None:
            return
        if isinstance(frame, Done | Failed):
            self._on_job_end(record, frame)
        elif isinstance(frame, LoadProgress):
            self._on_progress(record, frame)
        elif isinstance(frame, Loaded):
            self._on_loaded(record, frame)
        elif isinstance(frame, LoadFailed):
            self._on_load_failed(record, frame)
        elif isinstance(frame, Ready) and record.state is WorkerState.STARTING:
            record.state = WorkerState.SPARE

    def _on_job_end(self, record: WorkerRecord, frame: Done | Failed) -> None:
        desk = self._desk
        ticket = record.jobs.pop(frame.request_id, None)
        if ticket is None:
            return
        desk.tickets.pop(frame.request_id, None)
        if not ticket.ended:
            ticket.ended = True
            if isinstance(frame, Failed):
                error = error_from_wire(frame.code, frame.facts)
                if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # a refusal is no failure
                    desk.log.warning("generate.failed", code=frame.code, detail=frame.detail)
                ticket.put(Ended(error=error))
            else:
                ticket.put(frame)
        took_s = desk.clock.now() - ticket.granted_s
        desk.scheduler.service_s += _SERVICE_WEIGHT * (took_s - desk.scheduler.service_s)
        desk.scheduler.on_release(ticket.model)

    def _on_progress(self, record: WorkerRecord, frame: LoadProgress) -> None:
        record.progress_s = self._desk.clock.now()
        if record.plan is None:
            return
        for request_id, model in self._desk.scheduler.waiting.items():
            if model == record.plan.model:
                moved = Loading(phase=frame.phase, ratio=frame.ratio)
                self._desk.tickets[request_id].put(moved)

    def _on_loaded(self, record: WorkerRecord, frame: Loaded) -> None:
        if record.plan is None or record.state is not WorkerState.LOADING:
            return
        desk = self._desk
        record.loaded = frame
        record.loaded_at_s = desk.clock.now()
        record.state = WorkerState.READY
        desk.last_load_error = None
        desk.load_errors.pop(record.plan.model, None)
        desk.loads_finished += 1
        desk.log.info(
            "load.finished",
            model=frame.model,
            worker=record.worker.id,
            load_s=round(frame.seconds, 3),
            memory_bytes=frame.memory_bytes,
        )
        desk.scheduler.on_loaded(record.plan.model, max(1, frame.slots))

    def _on_load_failed(self, record: WorkerRecord, frame: LoadFailed) -> None:
        desk = self._desk
        desk.log.warning("load.failed", model=frame.model, code=frame.code, detail=frame.detail)
        if record.plan is None:  # a spare that could not import what it needs; its exit follows
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
        if record.state is not WorkerState.LEAVING:
            desk.log.error("worker.died", worker=worker_id, exit_code=exit_code, detail=tail)
        if record.plan is None:
            return
        model = record.plan.model
        if record.state is WorkerState.LOADING:
            reason = f"its process ended while loading (exit code {exit_code})"
            desk.load_failed(model, AgentLoadError(model=model, reason=reason))
            return
        self._fail_jobs(record, WorkerDiedError(model=model, exit_code=exit_code))
        desk.gone(model)

    def _fail_jobs(self, record: WorkerRecord, error: WorkerDiedError) -> None:
        for request_id, ticket in record.jobs.items():
            self._desk.tickets.pop(request_id, None)
            if not ticket.ended:
                ticket.ended = True
                ticket.put(Ended(error=error))

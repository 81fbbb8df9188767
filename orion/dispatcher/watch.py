"""What is looked at several times a second: deadlines, silence, hangs, growth, slow readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orion.dispatcher.floor import WorkerState
from orion.errors import (
    DeadlineExceededError,
    OrionError,
    OutOfMemoryError,
    SlowReaderError,
    WorkerDiedError,
    WorkerHungError,
)

if TYPE_CHECKING:
    from orion.dispatcher.arrivals import Arrivals
    from orion.dispatcher.desk import Desk
    from orion.dispatcher.floor import WorkerRecord
    from orion.workers import Pulse

ReadPulse = Callable[[int], "Pulse | None"]
"""Process id → whether it is stopped and what CPU time it has used."""

_PULSE_EVERY_S = 0.5
_BUSY_RATIO = 0.05
_BUSY_SILENCE_FACTOR = 5.0
_SHARED_STOP_FACTOR = 10.0
_FULL_FACTOR = 4
_UNKILLABLE_S = 5.0


class Watch:
    """Finds what will not come to the dispatcher by itself. Dispatcher thread only."""

    def __init__(self, desk: Desk, arrivals: Arrivals, read_pulse: ReadPulse) -> None:
        self._desk = desk
        self._arrivals = arrivals
        self._read_pulse = read_pulse

    def look(self) -> None:
        """One round."""
        desk, now_s = self._desk, self._desk.clock.now()
        desk.floor.kill_overdue()
        for record in list(desk.floor.records.values()):
            if record.killed_at_s is not None:
                self._check_gone(record, now_s)
                continue
            self._take_pulse(record, now_s)
            self._check_load(record, now_s)
            self._check_alive(record, now_s)
            self._check_jobs(record, now_s)
            self._check_growth(record)
        for ticket in list(desk.tickets.values()):
            deadline_s = ticket.job.deadline_s if ticket.job else ticket.deadline_s
            if now_s >= deadline_s and not ticket.ended:
                desk.outcomes.timed_out(ticket)

    def check_readers(self) -> None:
        """End the streams of callers that do not take what has come."""
        limits, now_s = self._desk.limits, self._desk.clock.now()
        for ticket in list(self._desk.tickets.values()):
            backlog = ticket.backlog_bytes
            if backlog <= limits.buffer_bytes:
                ticket.full_since_s = None
                continue
            if ticket.full_since_s is None:
                ticket.full_since_s = now_s
            waited_s = now_s - ticket.full_since_s
            if waited_s > limits.reader_s or backlog > _FULL_FACTOR * limits.buffer_bytes:
                error = SlowReaderError(buffer_bytes=limits.buffer_bytes)
                self._desk.outcomes.end(ticket.request_id, error)

    def _check_gone(self, record: WorkerRecord, now_s: float) -> None:
        """A thread cannot be killed: what does not go is given up, and never waited for."""
        assert record.killed_at_s is not None
        if now_s - record.killed_at_s > _UNKILLABLE_S:
            self._desk.log.critical("worker.unkillable", worker=record.worker.id)
            self._arrivals.worker_exited(record.worker.id, None, "")
            record.killed_at_s = now_s

    def _take_pulse(self, record: WorkerRecord, now_s: float) -> None:
        pid = record.worker.pid
        passed_s = now_s - record.pulse_s
        if pid is None or passed_s < _PULSE_EVERY_S:
            return
        pulse = self._read_pulse(pid)
        if pulse is None:
            return
        if pulse.cpu_s - record.cpu_s > _BUSY_RATIO * passed_s:
            record.busy_s = now_s
        record.cpu_s, record.pulse_s = pulse.cpu_s, now_s
        record.stopped = pulse.stopped

    def _check_load(self, record: WorkerRecord, now_s: float) -> None:
        limit_s = self._desk.limits.load_s
        if record.state is not WorkerState.LOADING or record.plan is None:
            return
        if now_s - record.progress_s <= limit_s:
            return
        model, record.plan = record.plan.model, None
        self._desk.log.error("load.deadline", model=model, limit_s=limit_s)
        record.state = WorkerState.LEAVING
        self._desk.floor.kill(record)
        self._desk.load_failed(model, DeadlineExceededError(phase="loading", limit_s=limit_s))

    def _check_alive(self, record: WorkerRecord, now_s: float) -> None:
        """Heartbeats come from a thread of their own: silence means stopped, starved or stuck."""
        limit_s = self._desk.limits.heartbeat_s
        silent_s = now_s - record.heard_s
        if silent_s <= limit_s or record.killed_at_s is not None:
            return
        if record.state is WorkerState.LEAVING:
            return
        if not record.stopped:
            if record.heartbeat is None:  # still importing: its load has a limit of its own
                return
            if now_s - record.busy_s < limit_s or record.worker.pid is None:
                limit_s *= _BUSY_SILENCE_FACTOR
            if silent_s <= limit_s:
                return
        self._condemn(record, self._hung(record, silent_s))

    def _check_jobs(self, record: WorkerRecord, now_s: float) -> None:
        if record.state is not WorkerState.READY or record.killed_at_s is not None:
            return
        limits = self._desk.limits
        jobs = list(record.jobs.values())
        shared = any(not job.over for job in jobs)
        stop_s = limits.stop_s * (_SHARED_STOP_FACTOR if shared else 1.0)
        for job in jobs:
            if job.stop_sent_s is not None and now_s - job.stop_sent_s > stop_s:
                self._desk.log.error("worker.ignores_stop", worker=record.worker.id)
                # Whoever stopped it is not to blame for what a worker does not hear.
                self._condemn(record, _died(record), suspect=False)
                return
            idle_s = now_s - max(job.moved_s, record.busy_s)
            if not job.over and record.worker.pid is not None and idle_s > limits.stall_s:
                self._condemn(record, self._hung(record, idle_s))
                return

    def _check_growth(self, record: WorkerRecord) -> None:
        if record.loaded is None or record.heartbeat is None or record.killed_at_s is not None:
            return
        grown = record.heartbeat.rss_bytes - record.loaded.memory_bytes
        limit = self._desk.limits.growth_bytes
        if grown <= limit or record.state is not WorkerState.READY:
            return
        assert record.plan
        if grown > 2 * limit:
            reason = "its worker has outgrown its limit"
            self._condemn(record, OutOfMemoryError(reason=reason))
        elif not record.renewing:
            record.renewing = True
            self._desk.log.warning("worker.renewed", worker=record.worker.id, grown_bytes=grown)
            self._desk.scheduler.ask_unload(record.plan.model)

    def _hung(self, record: WorkerRecord, silent_s: float) -> WorkerHungError:
        model = record.plan.model if record.plan else ""
        return WorkerHungError(model=model, exit_code=None, silent_s=round(silent_s, 1))

    def _condemn(self, record: WorkerRecord, cause: OrionError, *, suspect: bool = True) -> None:
        """Kill a worker; its exit tells those who wait."""
        self._desk.log.error("worker.condemned", worker=record.worker.id, code=cause.code)
        record.cause, record.suspect = cause, suspect
        if record.state is WorkerState.READY and record.plan is not None:
            self._desk.scheduler.on_doomed(record.plan.model)
            record.state = WorkerState.LEAVING
        self._desk.floor.kill(record)


def _died(record: WorkerRecord) -> WorkerDiedError:
    return WorkerDiedError(model=record.plan.model if record.plan else "", exit_code=None)

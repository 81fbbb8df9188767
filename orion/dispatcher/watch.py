"""What is looked at several times a second: deadlines, silence, hangs, growth, slow readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orion.dispatcher.floor import WorkerState
from orion.errors import (
    AgentLoadError,
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
    from orion.dispatcher.job import Job
    from orion.workers import Pulse

ReadPulse = Callable[[int], "Pulse | None"]
"""Process id → whether it is stopped and what CPU time it has used."""

_PULSE_EVERY_S = 0.5
_BUSY_RATIO = 0.05
_BUSY_SILENCE_FACTOR = 5.0
_SHARED_STOP_FACTOR = 10.0
_FULL_FACTOR = 4
_UNKILLABLE_S = 5.0
_SECOND_LOOK_S = 0.2
_SLOW_TOKENS = 3.0
_STOP_MAX_S = 15.0


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
            self._check_stops(record, now_s)
            self._check_alive(record, now_s)
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
        if pulse is None:  # not to be known: nobody is accused of idling
            record.busy_s = record.pulse_s = now_s
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
        reason = f"it made no progress for {limit_s:g} s"
        self._desk.load_failed(model, AgentLoadError(model=model, reason=reason))

    def _check_alive(self, record: WorkerRecord, now_s: float) -> None:
        """End a worker that is silent, or that stands still over an answer."""
        silent_s = self._too_silent_s(record, now_s) or self._stalled_s(record, now_s)
        if silent_s is None or record.killed_at_s is not None:
            record.suspected_s = None
            return
        # If it was this process that stood still, what was said meanwhile is heard now.
        if record.suspected_s is None:
            record.suspected_s = now_s
        if now_s - record.suspected_s < _SECOND_LOOK_S:
            return
        model = record.plan.model if record.plan else ""
        error = WorkerHungError(model=model, exit_code=None, silent_s=round(silent_s, 1))
        self._condemn(record, error)

    def _too_silent_s(self, record: WorkerRecord, now_s: float) -> float | None:
        """Heartbeats come from a thread of their own: silence means stopped, starved or stuck."""
        limit_s = self._desk.limits.heartbeat_s
        silent_s = now_s - record.heard_s
        if silent_s <= limit_s or record.state is WorkerState.LEAVING:
            return None
        if record.stopped:
            return silent_s
        if record.heartbeat is None:  # still importing: its load has a limit of its own
            return None
        if now_s - record.busy_s < limit_s or record.worker.pid is None:
            # Native code may keep the interpreter to itself while it loads.
            is_loading = record.state is WorkerState.LOADING
            limit_s = self._desk.limits.load_s if is_loading else limit_s * _BUSY_SILENCE_FACTOR
        return silent_s if silent_s > limit_s else None

    def _stalled_s(self, record: WorkerRecord, now_s: float) -> float | None:
        """For how long an answer has stood still while nothing was computed, if too long."""
        moved_s = min(
            (job.moved_s for job in list(record.jobs.values()) if not job.over), default=now_s
        )
        idle_s = now_s - max(moved_s, record.busy_s)
        if record.worker.pid is None or record.state is not WorkerState.READY:
            return None
        return idle_s if idle_s > self._desk.limits.stall_s else None

    def _check_stops(self, record: WorkerRecord, now_s: float) -> None:
        """End a worker that does not let go of an answer, sooner if nobody else uses it."""
        if record.state is not WorkerState.READY:
            return
        if not any(self._ignores_stop(job, record, now_s) for job in list(record.jobs.values())):
            record.deaf_since_s = None
            return
        # What it says may lie unread if it was this thread that stood still.
        if record.deaf_since_s is None:
            record.deaf_since_s = now_s
        if now_s - record.deaf_since_s >= _SECOND_LOOK_S:
            self._desk.log.error("worker.ignores_stop", worker=record.worker.id)
            # Whoever stopped it is not to blame for what a worker does not hear.
            self._condemn(record, _died(record), suspect=False)

    def _ignores_stop(self, job: Job, record: WorkerRecord, now_s: float) -> bool:
        if job.stop_sent_s is None:
            return False
        stop_s = max(self._desk.limits.stop_s, _SLOW_TOKENS * job.gap_s)
        others = [other for other in list(record.jobs.values()) if not other.over]
        if any(other.granted_s <= job.stop_sent_s for other in others):
            stop_s *= _SHARED_STOP_FACTOR
        return now_s - job.stop_sent_s > min(_STOP_MAX_S, stop_s)

    def _check_growth(self, record: WorkerRecord) -> None:
        if record.loaded is None or record.heartbeat is None or record.killed_at_s is not None:
            return
        if record.plan is not None:
            self._desk.scheduler.cache.measured(record.plan.model, record.heartbeat.rss_bytes)
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

    def _condemn(self, record: WorkerRecord, cause: OrionError, *, suspect: bool = True) -> None:
        """Kill a worker; its exit tells those who wait."""
        self._desk.log.error(
            "worker.condemned",
            worker=record.worker.id,
            code=cause.code,
            reason=cause.public_message,
        )
        record.cause, record.suspect = cause, suspect
        if record.state is WorkerState.READY and record.plan is not None:
            self._desk.scheduler.on_doomed(record.plan.model)
        if record.state is not WorkerState.LOADING:
            record.state = WorkerState.LEAVING
        self._desk.floor.kill(record)


def _died(record: WorkerRecord) -> WorkerDiedError:
    return WorkerDiedError(model=record.plan.model if record.plan else "", exit_code=None)

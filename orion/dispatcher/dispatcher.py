"""One thread, one inbox: every decision about who runs is taken here, in order.

Text does not pass through it: a worker's reader thread hands `Delta` frames straight
to the ticket, and only grants, ends and failures queue up here.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

from orion.dispatcher.arrivals import Arrivals
from orion.dispatcher.desk import Desk, DispatcherLimits
from orion.dispatcher.floor import StartWorker, WorkerFloor, WorkerRecord, WorkerState
from orion.dispatcher.ticket import Ended, Ticket
from orion.errors import CancelledError, DeadlineExceededError, OrionError, ShuttingDownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.clock import Clock
    from orion.dispatcher.floor import LoadPlan
    from orion.logs import Log

_TICK_S = 0.1
_STOP_LIMIT_S = 5.0
_CLOSE_LIMIT_S = 4.0


class Dispatcher:
    """Owns the scheduler and the workers. Public methods are safe from any thread."""

    def __init__(
        self,
        *,
        limits: DispatcherLimits,
        plan: Callable[[str], LoadPlan],
        start_worker: StartWorker,
        clock: Clock,
        log: Log,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._log = log
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._floor = WorkerFloor(start_worker, clock=clock)
        self._desk = Desk(
            limits=limits, plan=plan, floor=self._floor, clock=clock, log=log, post=self._inbox.put
        )
        arrivals = Arrivals(self._desk)
        self._floor.connect(arrivals.frame_arrived, arrivals.worker_exited)
        self._draining = False
        self._spares_wanted = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orion-dispatcher", daemon=True)
        self._thread.start()

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the engine stops."""
        return self._draining

    @property
    def last_load_error(self) -> OrionError | None:
        """Why the latest load failed; None once one ended well."""
        return self._desk.last_load_error

    @property
    def load_errors(self) -> dict[str, OrionError]:
        """Model → why its latest load failed, for those whose latest load did."""
        return dict(self._desk.load_errors)

    @property
    def loads_finished(self) -> int:
        """Loads that ended well since the start."""
        return self._desk.loads_finished

    def submit(self, ticket: Ticket) -> None:
        """Queue a request; answers come on `ticket`."""
        ticket.submitted_s = self._clock.now()
        self._inbox.put(lambda: self._submit(ticket))
        if self._stopped.is_set():  # nobody may read the inbox any more
            ticket.put(Ended(error=ShuttingDownError()))

    def cancel(self, request_id: str) -> None:
        """End a request wherever it is; nothing happens when it is not here."""
        self._inbox.put(lambda: self._desk.end(request_id, CancelledError()))

    def unload(self, model: str, timeout_s: float) -> bool:
        """Let a model go once idle; True when its process has ended, False if not resident."""
        gone = threading.Event()
        held: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._inbox.put(lambda: held.put(self._desk.unload(model, gone)))
        if self._stopped.is_set():
            return False
        try:
            return held.get(timeout=timeout_s) and gone.wait(timeout_s)
        except queue.Empty:
            return False

    def keep_spares(self) -> None:
        """From now on keep warm workers; not before the first load, which they would slow."""
        self._spares_wanted = self._limits.spares

    def position(self, request_id: str) -> int | None:
        """Place in the queue, from 1; a moment old."""
        return self._desk.scheduler.position(request_id)

    def records(self) -> list[WorkerRecord]:
        """The workers as they are now. Read only."""
        return list(self._floor.records.values())

    def counts(self) -> dict[str, int]:
        """Requests running and waiting, and what there is room for."""
        scheduler = self._desk.scheduler
        return {
            "running": scheduler.running,
            "waiting": len(scheduler.waiting),
            "capacity": scheduler.capacity,
            "max": self._limits.queue_max,
        }

    def shutdown(self, grace_s: float) -> None:
        """Refuse new work, let answers end for `grace_s`, then end every worker."""
        if self._stopped.is_set():
            return
        self._inbox.put(self._drain)
        until_s = self._clock.now() + grace_s
        while self._desk.tickets and self._clock.now() < until_s:
            self._stopped.wait(0.02)
        self._inbox.put(self._close)
        self._thread.join(timeout=_CLOSE_LIMIT_S + 2.0)

    def _run(self) -> None:
        tick_due_s = 0.0
        while not self._stopped.is_set():
            self._handle_next()
            if self._clock.now() >= tick_due_s:
                tick_due_s = self._clock.now() + _TICK_S
                self._handle(self._tick)

    def _handle_next(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._handle(self._inbox.get(timeout=_TICK_S))

    def _handle(self, event: Callable[[], None]) -> None:
        try:
            event()
        except Exception:  # noqa: BLE001 - one bad event must not stop the others
            self._log.exception("dispatcher.event_failed")

    def _submit(self, ticket: Ticket) -> None:
        if self._draining:
            ticket.put(Ended(error=ShuttingDownError()))
            return
        try:
            self._desk.admit(ticket)
        except Exception:
            ticket.put(Ended(error=OrionError()))  # a bug of ours must not leave a caller waiting
            raise

    def _tick(self) -> None:
        now_s = self._clock.now()
        self._floor.kill_overdue()
        for record in list(self._floor.records.values()):
            self._check_load(record, now_s)
            self._check_jobs(record, now_s)
        if not self._draining and not self._desk.scheduler.loading:
            self._floor.keep_spares(self._limits.spare_class, self._spares_wanted)

    def _check_load(self, record: WorkerRecord, now_s: float) -> None:
        if record.state is not WorkerState.LOADING or record.plan is None:
            return
        if now_s - record.progress_s <= self._limits.load_s:
            return
        model, record.plan = record.plan.model, None
        self._log.error("load.deadline", model=model, limit_s=self._limits.load_s)
        self._floor.end(record)
        self._floor.kill(record)
        error = DeadlineExceededError(phase="loading", limit_s=self._limits.load_s)
        self._desk.load_failed(model, error)

    def _check_jobs(self, record: WorkerRecord, now_s: float) -> None:
        if record.state is not WorkerState.READY:
            return
        limit_s = self._limits.generate_s
        for ticket in list(record.jobs.values()):
            if now_s - ticket.granted_s > limit_s:
                error = DeadlineExceededError(phase="answering", limit_s=limit_s)
                self._desk.end(ticket.request_id, error)
            if ticket.stop_sent_s is not None and now_s - ticket.stop_sent_s > _STOP_LIMIT_S:
                self._log.error("worker.ignores_stop", worker=record.worker.id)
                self._desk.scheduler.on_doomed(ticket.model)
                record.state = WorkerState.LEAVING
                self._floor.kill(record)
                return

    def _drain(self) -> None:
        self._draining = True
        for request_id in list(self._desk.scheduler.waiting):
            self._desk.end(request_id, ShuttingDownError())

    def _close(self) -> None:
        for request_id in list(self._desk.tickets):
            self._desk.end(request_id, ShuttingDownError())
        for record in list(self._floor.records.values()):
            self._floor.end(record)
        until_s = self._clock.now() + _CLOSE_LIMIT_S
        while self._floor.records and self._clock.now() < until_s:
            self._handle_next()
            self._floor.kill_overdue()
        self._stopped.set()
        while not self._inbox.empty():  # a request that came in between hears of it too
            self._handle(self._inbox.get())

"""One thread, one inbox: every decision about who runs is taken here, in order.

Text does not pass through it: a worker's reader thread hands `Delta` frames straight
to the ticket, and only grants, ends and failures queue up here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orion.dispatcher.floor import LoadPlan, StartWorker, WorkerFloor, WorkerRecord, WorkerState
from orion.dispatcher.ticket import Ended, Granted, Loading, Ticket
from orion.errors import (
    AgentLoadError,
    CancelledError,
    DeadlineExceededError,
    OrionError,
    ShuttingDownError,
    WorkerDiedError,
    error_from_wire,
)
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
    Stop,
)
from orion.scheduling import Scheduler

if TYPE_CHECKING:
    from orion.clock import Clock
    from orion.logs import Log

_TICK_S = 0.1
_STOP_LIMIT_S = 2.0
_SERVICE_WEIGHT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherLimits:
    """How much at once, and for how long."""

    places: int
    queue_max: int
    default_slots: int
    load_s: float
    generate_s: float
    spares: int
    spare_class: str


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
        self._plan = plan
        self._clock = clock
        self._log = log
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._tickets: dict[str, Ticket] = {}
        self._floor = WorkerFloor(start_worker, clock=clock)
        self._floor.connect(self._frame_arrived, self._worker_exited)
        self._scheduler = Scheduler(
            self, limits.places, limits.queue_max, limits.default_slots
        )
        self._unload_waiters: list[tuple[str, threading.Event]] = []
        self._draining = False
        self._spares_wanted = 0
        self._stopped = threading.Event()
        self.last_load_error: OrionError | None = None
        self.loads_finished = 0
        self._thread = threading.Thread(target=self._run, name="orion-dispatcher", daemon=True)
        self._thread.start()

    # Any thread ---------------------------------------------------------------

    def submit(self, ticket: Ticket) -> None:
        """Queue a request; answers come on `ticket`."""
        ticket.submitted_s = self._clock.now()
        if self._stopped.is_set():
            ticket.put(Ended(error=ShuttingDownError()))
            return
        self._inbox.put(lambda: self._submit(ticket))

    def cancel(self, request_id: str) -> bool:
        """End a request wherever it is. False: it is not (or no longer) here."""
        known = request_id in self._tickets
        if known:
            self._inbox.put(lambda: self._end(request_id, CancelledError()))
        return known

    def unload(self, model: str, timeout_s: float) -> bool:
        """Let a model go once idle; True when its process has ended, False if not resident."""
        gone = threading.Event()
        held: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._inbox.put(lambda: held.put(self._unload(model, gone)))
        if not held.get(timeout=timeout_s):
            return False
        return gone.wait(timeout_s)

    def keep_spares(self) -> None:
        """From now on keep warm workers; not before the first load, which they would slow."""
        self._inbox.put(self._allow_spares)

    def position(self, request_id: str) -> int | None:
        """Place in the queue, from 1; a moment old."""
        for index, waiting in enumerate(list(self._scheduler.waiting), start=1):
            if waiting == request_id:
                return index
        return None

    def records(self) -> list[WorkerRecord]:
        """The workers as they are now. Read only."""
        return list(self._floor.records.values())

    def counts(self) -> dict[str, int]:
        """Requests running and waiting, and what there is room for."""
        scheduler = self._scheduler
        return {
            "running": scheduler.running,
            "waiting": len(scheduler.waiting),
            "capacity": scheduler.capacity,
            "max": self._limits.queue_max,
        }

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the engine stops."""
        return self._draining

    def shutdown(self, grace_s: float) -> None:
        """Refuse new work, let answers end for `grace_s`, then end every worker."""
        if self._stopped.is_set():
            return
        self._inbox.put(self._drain)
        until_s = self._clock.now() + grace_s
        while self._tickets and self._clock.now() < until_s:
            self._stopped.wait(0.02)
        self._inbox.put(self._close)
        self._thread.join(timeout=6.0)

    # Effects: what the scheduler decided --------------------------------------

    def grant(self, request_id: str, model: str) -> None:
        """The request runs on `model` now."""
        ticket = self._tickets[request_id]
        record = self._floor.holder(model)
        assert record
        assert record.plan
        ticket.granted_s = self._clock.now()
        load_s = 0.0
        if record.loaded is not None:
            loaded_at_s = record.load_began_s + record.loaded.seconds
            load_s = max(0.0, loaded_at_s - max(ticket.submitted_s, record.load_began_s))
        waited_s = ticket.granted_s - ticket.submitted_s
        load_s = min(load_s, waited_s)
        ticket.put(
            Granted(
                queue_s=waited_s - load_s,
                load_s=load_s,
                cold=load_s > 0,
                runtime=record.plan.runtime,
                variant=record.plan.variant,
            )
        )
        if ticket.generate is None:
            del self._tickets[request_id]
            self._inbox.put(lambda: self._scheduler.on_release(model))
            return
        record.jobs[request_id] = ticket
        record.worker.send(ticket.generate)

    def refuse(self, request_id: str, error: OrionError) -> None:
        """The request ends here."""
        ticket = self._tickets.pop(request_id, None)
        if ticket is not None:
            ticket.put(Ended(error=error))

    def start_load(self, model: str) -> None:
        """Begin a load."""
        try:
            self._floor.load(self._plan(model))
        except Exception as error:  # whatever it is, those who wait must hear of it
            failure = error if isinstance(error, OrionError) else _unplanned(model, error)
            # As one more event: the scheduler is in the middle of a decision.
            self._inbox.put(lambda: self._load_failed(model, failure))

    def start_unload(self, model: str) -> None:
        """Begin to end the model's worker."""
        record = self._floor.holder(model)
        if record is not None:
            self._floor.end(record)

    # Dispatcher thread --------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                event = self._inbox.get(timeout=_TICK_S)
            except queue.Empty:
                event = self._tick
            try:
                event()
            except Exception:
                self._log.exception("dispatcher.event_failed")

    def _submit(self, ticket: Ticket) -> None:
        if self._draining:
            ticket.put(Ended(error=ShuttingDownError()))
            return
        self._tickets[ticket.request_id] = ticket
        self._scheduler.on_request(ticket.request_id, ticket.model)

    def _end(self, request_id: str, error: OrionError) -> None:
        """End a request for its caller now; a worker that runs it is told to stop."""
        ticket = self._tickets.get(request_id)
        if ticket is None or ticket.ended:
            return
        ticket.ended = True
        ticket.put(Ended(error=error))
        if self._scheduler.on_leave(request_id):
            del self._tickets[request_id]
            return
        ticket.stop_sent_s = self._clock.now()
        record = self._floor.holder(ticket.model)
        if record is not None:
            record.worker.send(Stop(request_id=request_id))

    def _unload(self, model: str, gone: threading.Event) -> bool:
        if not self._scheduler.ask_unload(model):
            return False
        self._unload_waiters.append((model, gone))
        return True

    def _allow_spares(self) -> None:
        self._spares_wanted = self._limits.spares

    def _frame_arrived(self, worker_id: str, frame: Frame) -> None:
        """Reader threads: text goes straight on, everything else queues."""
        if isinstance(frame, Delta | Started):
            record = self._floor.records.get(worker_id)
            ticket = record.jobs.get(frame.request_id) if record else None
            if ticket is not None and not ticket.ended:
                ticket.put(frame)
            return
        self._inbox.put(lambda: self._on_frame(worker_id, frame))

    def _worker_exited(self, worker_id: str, exit_code: int | None, tail: str) -> None:
        self._inbox.put(lambda: self._on_exit(worker_id, exit_code, tail))

    def _on_frame(self, worker_id: str, frame: Frame) -> None:
        record = self._floor.records.get(worker_id)
        if record is None:
            return
        if isinstance(frame, Done | Failed):
            self._on_job_end(record, frame)
        elif isinstance(frame, LoadProgress):
            self._on_progress(record, frame)
        elif isinstance(frame, Loaded):
            self._on_loaded(record, frame)
        elif isinstance(frame, LoadFailed):
            self._log.warning("load.failed", model=frame.model, code=frame.code, detail=frame.detail)
            if record.plan is not None:
                self._floor.end(record)
                model, record.plan = record.plan.model, None
                self._load_failed(model, error_from_wire(frame.code, frame.facts))
        elif isinstance(frame, Ready) and record.state is WorkerState.STARTING:
            record.state = WorkerState.SPARE

    def _on_job_end(self, record: WorkerRecord, frame: Done | Failed) -> None:
        ticket = record.jobs.pop(frame.request_id, None)
        if ticket is None:
            return
        self._tickets.pop(frame.request_id, None)
        if not ticket.ended:
            ticket.ended = True
            if isinstance(frame, Failed):
                self._log.warning("generate.failed", code=frame.code, detail=frame.detail)
                ticket.put(Ended(error=error_from_wire(frame.code, frame.facts)))
            else:
                ticket.put(frame)
        took_s = self._clock.now() - ticket.granted_s
        self._scheduler.service_s += _SERVICE_WEIGHT * (took_s - self._scheduler.service_s)
        self._scheduler.on_release(ticket.model)

    def _on_progress(self, record: WorkerRecord, frame: LoadProgress) -> None:
        record.progress_s = self._clock.now()
        if record.plan is None:
            return
        for request_id, model in self._scheduler.waiting.items():
            if model == record.plan.model:
                self._tickets[request_id].put(Loading(phase=frame.phase, ratio=frame.ratio))

    def _on_loaded(self, record: WorkerRecord, frame: Loaded) -> None:
        if record.plan is None or record.state is not WorkerState.LOADING:
            return
        record.loaded = frame
        record.state = WorkerState.READY
        self.last_load_error = None
        self.loads_finished += 1
        self._log.info(
            "load.finished",
            model=frame.model,
            worker=record.worker.id,
            load_s=round(frame.seconds, 3),
            memory_bytes=frame.memory_bytes,
        )
        self._scheduler.on_loaded(frame.model, frame.slots)

    def _load_failed(self, model: str, error: OrionError) -> None:
        self.last_load_error = error
        self._scheduler.on_load_failed(model, error)

    def _on_exit(self, worker_id: str, exit_code: int | None, tail: str) -> None:
        record = self._floor.gone(worker_id)
        if record is None:
            return
        if record.state is not WorkerState.LEAVING:
            self._log.error("worker.died", worker=worker_id, exit_code=exit_code, detail=tail)
        if record.plan is None:
            return
        model = record.plan.model
        if record.state is WorkerState.LOADING:
            reason = f"its process ended while loading (exit code {exit_code})"
            self._load_failed(model, AgentLoadError(model=model, reason=reason))
            return
        for request_id, ticket in record.jobs.items():
            self._tickets.pop(request_id, None)
            if not ticket.ended:
                ticket.ended = True
                ticket.put(Ended(error=WorkerDiedError(model=model, exit_code=exit_code)))
        self._scheduler.on_gone(model)
        for waiting, gone in self._unload_waiters:
            if waiting == model:
                gone.set()
        self._unload_waiters = [(name, gone) for name, gone in self._unload_waiters if name != model]

    def _tick(self) -> None:
        now_s = self._clock.now()
        self._floor.kill_overdue()
        for record in list(self._floor.records.values()):
            self._check_deadlines(record, now_s)
        if not self._draining and not self._scheduler.loading:
            self._floor.keep_spares(self._limits.spare_class, self._spares_wanted)

    def _check_deadlines(self, record: WorkerRecord, now_s: float) -> None:
        if (
            record.state is WorkerState.LOADING
            and record.plan is not None
            and now_s - record.progress_s > self._limits.load_s
        ):
            self._log.error("load.deadline", model=record.plan.model, limit_s=self._limits.load_s)
            self._floor.end(record)
            self._floor.kill(record)
            model, record.plan = record.plan.model, None
            self._load_failed(
                model, DeadlineExceededError(phase="loading", limit_s=self._limits.load_s)
            )
        for ticket in list(record.jobs.values()):
            if now_s - ticket.granted_s > self._limits.generate_s:
                limit_s = self._limits.generate_s
                error = DeadlineExceededError(phase="answering", limit_s=limit_s)
                self._end(ticket.request_id, error)
            if ticket.stop_sent_s is not None and now_s - ticket.stop_sent_s > _STOP_LIMIT_S:
                self._floor.kill(record)

    def _drain(self) -> None:
        self._draining = True
        for request_id in list(self._scheduler.waiting):
            self._end(request_id, ShuttingDownError())

    def _close(self) -> None:
        for request_id in list(self._tickets):
            self._end(request_id, ShuttingDownError())
        for record in list(self._floor.records.values()):
            self._floor.end(record)
        until_s = self._clock.now() + 4.0
        while self._floor.records and self._clock.now() < until_s:
            try:
                self._inbox.get(timeout=_TICK_S)()
            except queue.Empty:
                self._floor.kill_overdue()
        self._stopped.set()
        while not self._inbox.empty():  # a request that came in between hears of it too
            self._inbox.get()()


def _unplanned(model: str, error: Exception) -> AgentLoadError:
    return AgentLoadError(model=model, reason=f"its load could not begin ({type(error).__name__})")

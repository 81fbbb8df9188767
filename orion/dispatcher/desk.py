"""What the dispatcher thread owns, and what it does with it. No method may be called elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orion.dispatcher.ticket import Ended, Granted
from orion.errors import AgentLoadError, InvalidQueryError, OrionError
from orion.protocol import Stop
from orion.scheduling import Scheduler

if TYPE_CHECKING:
    import threading

    from orion.clock import Clock
    from orion.dispatcher.floor import LoadPlan, WorkerFloor
    from orion.dispatcher.ticket import Ticket
    from orion.logs import Log

Post = Callable[[Callable[[], None]], None]
"""Puts one more event into the dispatcher's inbox."""


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


@dataclass(slots=True, kw_only=True)
class Desk:
    """Tickets, workers and the scheduler; carries out what the scheduler decides."""

    limits: DispatcherLimits
    plan: Callable[[str], LoadPlan]
    floor: WorkerFloor
    clock: Clock
    log: Log
    post: Post
    tickets: dict[str, Ticket] = field(default_factory=dict)
    unload_waiters: list[tuple[str, threading.Event]] = field(default_factory=list)
    load_errors: dict[str, OrionError] = field(default_factory=dict)
    last_load_error: OrionError | None = None
    loads_finished: int = 0
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.scheduler = Scheduler(self, limits.places, limits.queue_max, limits.default_slots)

    def admit(self, ticket: Ticket) -> None:
        """Hand a request to the scheduler, unless its model could not be loaded anyway."""
        if ticket.request_id in self.tickets:
            reason = "is the id of a request under way"
            ticket.put(Ended(error=InvalidQueryError(field="request_id", reason=reason)))
            return
        model = ticket.model
        if model not in self.scheduler.resident and model not in self.scheduler.loading:
            try:  # before anything is evicted for it
                self.plan(model)
            except Exception as error:  # noqa: BLE001 - as in `start_load`
                ticket.put(Ended(error=self._note_failure(model, error)))
                return
        self.tickets[ticket.request_id] = ticket
        self.scheduler.on_request(ticket.request_id, model)

    def grant(self, request_id: str, model: str) -> None:
        """The request runs on `model` now."""
        ticket = self.tickets[request_id]
        record = self.floor.holder(model)
        assert record
        assert record.plan
        ticket.granted_s = self.clock.now()
        load_s = max(0.0, record.loaded_at_s - max(ticket.submitted_s, record.load_began_s))
        waited_s = ticket.granted_s - ticket.submitted_s
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
            del self.tickets[request_id]
            self.post(lambda: self.scheduler.on_release(model))
            return
        record.jobs[request_id] = ticket
        record.worker.send(ticket.generate)

    def refuse(self, request_id: str, error: OrionError) -> None:
        """The request ends here."""
        ticket = self.tickets.pop(request_id, None)
        if ticket is not None:
            ticket.put(Ended(error=error))

    def start_load(self, model: str) -> None:
        """Begin a load."""
        try:
            self.floor.load(self.plan(model))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            failure = self._note_failure(model, error)
            # As one more event: the scheduler is in the middle of a decision.
            self.post(lambda: self.load_failed(model, failure))

    def start_unload(self, model: str) -> None:
        """Begin to end the model's worker."""
        record = self.floor.holder(model)
        if record is not None:
            self.floor.end(record)

    def end(self, request_id: str, error: OrionError) -> None:
        """End a request for its caller now; a worker that runs it is told to stop."""
        ticket = self.tickets.get(request_id)
        if ticket is None or ticket.ended:
            return
        ticket.ended = True
        ticket.put(Ended(error=error))
        if self.scheduler.on_leave(request_id):
            del self.tickets[request_id]
            return
        ticket.stop_sent_s = self.clock.now()
        record = self.floor.holder(ticket.model)
        if record is not None:
            record.worker.send(Stop(request_id=request_id))

    def load_failed(self, model: str, error: OrionError) -> None:
        """Tell everyone who waited for this load."""
        self.scheduler.on_load_failed(model, self._note_failure(model, error))
        self._tell_unloaded(model)

    def gone(self, model: str) -> None:
        """The model's process has ended."""
        self.scheduler.on_gone(model)
        self._tell_unloaded(model)

    def _tell_unloaded(self, model: str) -> None:
        for waiting, event in self.unload_waiters:
            if waiting == model:
                event.set()
        self.unload_waiters = [pair for pair in self.unload_waiters if pair[0] != model]

    def unload(self, model: str, event: threading.Event) -> bool:
        """Let `model` go once idle and set `event` then. False: it is not resident."""
        if not self.scheduler.ask_unload(model):
            return False
        self.unload_waiters.append((model, event))
        return True

    def _note_failure(self, model: str, error: Exception) -> OrionError:
        if not isinstance(error, OrionError):
            self.log.error("load.not_begun", model=model, detail=repr(error))
            reason = f"its load could not begin ({type(error).__name__})"
            error = AgentLoadError(model=model, reason=reason)
        self.last_load_error = self.load_errors[model] = error
        return error

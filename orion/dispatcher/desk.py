"""What the dispatcher thread owns, and how requests come in and get to run.

No method may be called on another thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orion.breakers import BreakerMode, BreakerState
from orion.dispatcher.faults import Faults
from orion.dispatcher.job import Job
from orion.dispatcher.outcomes import Outcomes
from orion.dispatcher.quarantine import Quarantine
from orion.dispatcher.revival import Revival
from orion.dispatcher.ticket import Ended, Granted
from orion.errors import (
    AgentLoadError,
    CircuitOpenError,
    InvalidQueryError,
    OrionError,
)
from orion.scheduling import Scheduler

if TYPE_CHECKING:
    import threading

    from orion.breakers import Breaker, Permit
    from orion.clock import Clock
    from orion.dispatcher.floor import LoadPlan, WorkerFloor
    from orion.dispatcher.ticket import Attempt, Ticket
    from orion.logs import Log

_HEARD_WITHIN_S = 0.25

Post = Callable[[Callable[[], None]], None]
"""Puts one more event into the dispatcher's inbox."""

BreakerFor = Callable[[str, str], "Breaker"]
"""`load` or `generate` and a model or an agent → its breaker."""


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
    heartbeat_s: float = 2.0
    stall_s: float = 10.0
    stop_s: float = 0.5
    reader_s: float = 30.0
    buffer_bytes: int = 262_144
    growth_bytes: int = 2 * 1024**3
    deaths_max: int = 2
    quarantine_s: float = 3600.0


@dataclass(slots=True)
class Tally:
    """What has happened since the start. Read from any thread."""

    loads: int = 0
    deaths: int = 0
    fallbacks: int = 0
    restarts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Desk:
    """Tickets, workers and the scheduler; carries out what the scheduler decides."""

    limits: DispatcherLimits
    plan: Callable[[str], LoadPlan]
    floor: WorkerFloor
    breaker_for: BreakerFor
    used_models: frozenset[str]
    clock: Clock
    log: Log
    post: Post
    tickets: dict[str, Ticket] = field(default_factory=dict)
    unload_waiters: list[tuple[str, threading.Event]] = field(default_factory=list)
    load_errors: dict[str, OrionError] = field(default_factory=dict)
    load_permits: dict[str, Permit] = field(default_factory=dict)
    last_load_error: OrionError | None = None
    tally: Tally = field(default_factory=Tally)
    faults: Faults = field(default_factory=Faults)
    revival: Revival = field(default_factory=Revival)
    quarantine: Quarantine = field(init=False)
    scheduler: Scheduler = field(init=False)
    outcomes: Outcomes = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.scheduler = Scheduler(self, limits.places, limits.queue_max, limits.default_slots)
        self.quarantine = Quarantine(deaths_max=limits.deaths_max, span_s=limits.quarantine_s)
        self.outcomes = Outcomes(self)

    def admit(self, ticket: Ticket) -> None:
        """Hand a request to the scheduler: with the first of its agents that may be tried."""
        now_s = self.clock.now()
        ticket.waiting_s = now_s
        ticket.deadline_s = ticket.submitted_s + ticket.limit_s
        if ticket.request_id in self.tickets:
            reason = "is the id of a request under way"
            ticket.end(Ended(error=InvalidQueryError(field="request_id", reason=reason)))
            return
        ticket.fingerprint = self.quarantine.fingerprint(ticket.content)
        refusal = self.quarantine.refusal(ticket.fingerprint, ticket.model, now_s)
        if refusal is not None:
            ticket.end(Ended(error=refusal))
            return
        self.tickets[ticket.request_id] = ticket
        error = self.obstacle(ticket.attempt)
        if error is None:
            self.scheduler.on_request(ticket.request_id, ticket.model)
        else:
            self.outcomes.failed(ticket, error)

    def obstacle(self, attempt: Attempt) -> OrionError | None:
        """Why an attempt need not even wait: a breaker refuses, or its model cannot be loaded."""
        model = attempt.model
        refusal = None
        if model not in self.scheduler.resident and model not in self.scheduler.loading:
            try:  # before anything is evicted for it
                self.plan(model)
            except Exception as error:  # noqa: BLE001 - as in `start_load`
                return self._note_failure(model, error)
            refusal = self.breaker_for("load", model).would_refuse()
        if attempt.generate is None or attempt.last_resort:
            return None  # the admin wants it, or nobody else is left to ask
        return refusal or self.breaker_for("generate", attempt.breaker).would_refuse()

    def may_grant(self, request_id: str, model: str) -> bool:
        """Whoever a worker died under lately runs alone; nobody runs where a stop goes unheard."""
        now_s, record = self.clock.now(), self.floor.holder(model)
        jobs = list(record.jobs.values()) if record else []
        if not jobs:
            return True
        if any(job.timed_out or is_deaf(job, now_s) for job in jobs):
            return False
        prints = [self.tickets[request_id].fingerprint, *(job.ticket.fingerprint for job in jobs)]
        return not any(self.quarantine.is_suspect(known, now_s) for known in prints)

    def grant(self, request_id: str, model: str) -> None:
        """The request runs on `model` now, unless its breaker has opened meanwhile."""
        ticket = self.tickets[request_id]
        attempt, now_s = ticket.attempt, self.clock.now()
        record = self.floor.holder(model)
        assert record
        assert record.plan
        if attempt.generate is None:
            ticket.end(self._granted(ticket, now_s))
            del self.tickets[request_id]
            self.post(lambda: self.scheduler.on_release(model))
            return
        try:
            permit = self._permit(attempt)
        except CircuitOpenError as error:
            refusal = error
            self.post(lambda: self.outcomes.handed_back(ticket, model, refusal))
            return
        fault = self.faults.take(attempt.agent, "generate")
        job = Job(
            id=f"{request_id}.{ticket.index}",
            ticket=ticket,
            attempt=attempt,
            granted_s=now_s,
            moved_s=now_s,
            deadline_s=min(ticket.deadline_s, now_s + self.limits.generate_s),
            cut_short=ticket.deadline_s < now_s + self.limits.generate_s,
            permit=permit,
            injected=bool(fault),
        )
        ticket.job = job
        ticket.put(self._granted(ticket, now_s))
        record.jobs[job.id] = job
        record.worker.send(
            replace(
                attempt.generate,
                request_id=job.id,
                deadline_s=job.deadline_s if math.isfinite(job.deadline_s) else None,
                fault=fault,
            )
        )

    def _granted(self, ticket: Ticket, now_s: float) -> Granted:
        record = self.floor.holder(ticket.model)
        assert record
        assert record.plan
        load_s = max(0.0, record.loaded_at_s - max(ticket.waiting_s, record.load_began_s))
        return Granted(
            queue_s=now_s - ticket.waiting_s - load_s,
            load_s=load_s,
            cold=load_s > 0,
            runtime=record.plan.runtime,
            variant=record.plan.variant,
        )

    def _permit(self, attempt: Attempt) -> Permit:
        breaker = self.breaker_for("generate", attempt.breaker)
        try:
            return breaker.acquire()
        except CircuitOpenError:
            if attempt.last_resort:
                return breaker.admit()
            raise

    def refuse(self, request_id: str, error: OrionError) -> None:
        """The scheduler cannot serve it: another agent may, unless the queue is full."""
        ticket = self.tickets.get(request_id)
        if ticket is not None:  # as one more event: the scheduler is in the middle of a decision
            self.post(lambda: self.outcomes.failed(ticket, error))

    def start_load(self, model: str) -> None:
        """Begin a load, if its breaker lets it."""
        try:
            plan = self.plan(model)
            self.load_permits[model] = self._load_permit(model)
            fault = self.faults.take(model, "load")
            self.floor.load(replace(plan, load=replace(plan.load, fault=fault)))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            failure = self._note_failure(model, error)
            self.post(lambda: self.load_failed(model, failure))

    def load_afresh(self, plan: LoadPlan) -> None:
        """Go on with a load whose spare had died before it began."""
        try:
            self.floor.load(plan, fresh=True)
        except Exception as error:  # noqa: BLE001 - as above
            self.load_failed(plan.model, self._note_failure(plan.model, error))

    def _load_permit(self, model: str) -> Permit:
        breaker = self.breaker_for("load", model)
        try:
            return breaker.acquire()
        except CircuitOpenError:
            wanted = (self.tickets[key] for key in self.scheduler.waiting_for(model))
            if any(ticket.attempt.last_resort or not ticket.attempt.generate for ticket in wanted):
                return breaker.admit()
            raise

    def start_unload(self, model: str) -> None:
        """Begin to end the model's worker."""
        record = self.floor.holder(model)
        if record is not None:
            if not record.renewing:
                self.revival.forget(model)
            self.floor.end(record)

    def load_ended(self, model: str) -> None:
        """A load ended well: its breaker and its model's past are told."""
        self.last_load_error = None
        self.load_errors.pop(model, None)
        self.revival.back(model, self.clock.now())
        self.tally.loads += 1
        permit = self.load_permits.pop(model, None)
        if permit is None:
            return
        permit.success()
        breaker = self.breaker_for("load", model)
        if breaker.mode is BreakerMode.NORMAL and breaker.state is BreakerState.OPEN:
            breaker.reset()  # a last resort got through: there will be no other trial

    def load_failed(self, model: str, error: OrionError) -> None:
        """Tell the breaker and everyone who waited for this load."""
        error = self._note_failure(model, error)
        permit = self.load_permits.pop(model, None)
        if permit is not None:
            permit.failure(error)
        if model in self.used_models or model in self.revival.models:
            self.revival.failed(model, self.clock.now(), hopeless=not error.retryable)
        self.scheduler.on_load_failed(model, error)
        self._tell_unloaded(model)

    def drop_load(self, model: str) -> None:
        """A load is given up for reasons of ours: it says nothing about the model."""
        permit = self.load_permits.pop(model, None)
        if permit is not None:
            permit.release()

    def gone(self, model: str) -> None:
        """The model's process has ended."""
        self.drop_load(model)
        self.scheduler.on_gone(model)
        self._tell_unloaded(model)

    def unload(self, model: str, event: threading.Event) -> bool:
        """Let `model` go once idle and set `event` then. False: it is not resident."""
        self.revival.forget(model)
        record = self.floor.holder(model)
        if record is not None:
            record.renewing, record.dismissed = False, True
        if not self.scheduler.ask_unload(model):
            return False
        self.unload_waiters.append((model, event))
        return True

    def _tell_unloaded(self, model: str) -> None:
        for waiting, event in self.unload_waiters:
            if waiting == model:
                event.set()
        self.unload_waiters = [pair for pair in self.unload_waiters if pair[0] != model]

    def _note_failure(self, model: str, error: Exception) -> OrionError:
        if not isinstance(error, OrionError):
            self.log.error("load.not_begun", model=model, detail=repr(error))
            reason = f"its load could not begin ({type(error).__name__})"
            error = AgentLoadError(model=model, reason=reason)
        if not isinstance(error, CircuitOpenError):  # which only repeats what came before
            self.last_load_error = self.load_errors[model] = error
        return error


def is_deaf(job: Job, now_s: float) -> bool:
    """Whether a stop has gone unheard for longer than a token takes."""
    return job.stop_sent_s is not None and now_s - job.stop_sent_s > _HEARD_WITHIN_S

"""What the dispatcher thread owns, and how requests come in and get to run.

No method may be called on another thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orion.dispatcher.job import Job
from orion.dispatcher.model_desk import ModelDesk
from orion.dispatcher.outcomes import Outcomes
from orion.dispatcher.quarantine import Quarantine
from orion.dispatcher.reading import Reading
from orion.dispatcher.ticket import Ended, Granted
from orion.errors import CircuitOpenError, InvalidQueryError, NoRoomError, OrionError
from orion.scheduling import CacheLimits, QueueLimits, Scheduler, Waiter

if TYPE_CHECKING:
    from orion.breakers import Permit
    from orion.dispatcher.ticket import Attempt, Ticket

_HEARD_WITHIN_S = 0.25


@dataclass(slots=True, kw_only=True)
class Desk(ModelDesk):
    """Requests on top of the models: carries out what the scheduler decides about them."""

    reading: Reading = field(default_factory=Reading)
    quarantine: Quarantine = field(init=False)
    outcomes: Outcomes = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.scheduler = Scheduler(
            self,
            QueueLimits(
                queue_max=limits.queue_max,
                queue_tokens=limits.queue_tokens,
                client_share=limits.client_share,
                turn_max=limits.turn_max,
                patience_s=limits.patience_s,
            ),
            CacheLimits(
                places=limits.places,
                default_slots=limits.default_slots,
                budget_bytes=limits.budget_bytes,
                reserve_bytes=limits.reserve_bytes,
                keep_alive_s=limits.keep_alive_s,
                pinned=limits.pinned,
            ),
            self.clock,
        )
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
        if error is not None:
            self.outcomes.failed(ticket, error)
            return
        self.scheduler.on_request(self.waiter(ticket))
        self.tell_place(ticket)

    def waiter(self, ticket: Ticket) -> Waiter:
        """What the scheduler has to know of a request."""
        return Waiter(
            ticket.request_id,
            ticket.model,
            client=ticket.client,
            tokens=self.reading.tokens(ticket.content),
            deadline_s=ticket.deadline_s,
            keep_alive_s=ticket.keep_alive_s,
        )

    def tell_place(self, ticket: Ticket) -> None:
        """Say to one that has just come where it stands."""
        line = self.scheduler.lines.get(ticket.model)
        if line is not None and not ticket.ended and ticket.job is None:
            self._tell_place(ticket, line.size)

    def tell_places(self) -> None:
        """Say to all that wait where they stand."""
        for request_id, position in list(self.scheduler.places()):
            ticket = self.tickets.get(request_id)
            if ticket is not None:
                self._tell_place(ticket, position)

    def _tell_place(self, ticket: Ticket, position: int) -> None:
        if ticket.model in self.scheduler.loading and position <= self.limits.default_slots:
            return  # it hears how the load goes
        scheduler = self.scheduler
        known = scheduler.pace.is_measured(ticket.model)
        wait_s = scheduler.door.wait_s(ticket.model, position - 1) if known else None
        ticket.stands(position, wait_s)

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
        if self.scheduler.resident[model].speculative:
            self.notify(
                "granted",
                model,
                speculative=True,
                load_s_saved=self.scheduler.pace.load_s(model),
                ahead_s=max(0.0, ticket.waiting_s - record.load_began_s),
            )
        if attempt.generate is None:
            ticket.end(self._granted(ticket, now_s))
            del self.tickets[request_id]
            self.post(lambda: self.scheduler.on_release(model, ticket.client))
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
        self.tally.refusals[error.code] = self.tally.refusals.get(error.code, 0) + 1
        ticket = self.tickets.get(request_id)
        if isinstance(error, NoRoomError):
            self.forget_plan(error.facts["agent"])
        if ticket is not None:  # as one more event: the scheduler is in the middle of a decision
            self.post(lambda: self.outcomes.failed(ticket, error))


def is_deaf(job: Job, now_s: float) -> bool:
    """Whether a stop has gone unheard for longer than a token takes."""
    return job.stop_sent_s is not None and now_s - job.stop_sent_s > _HEARD_WITHIN_S

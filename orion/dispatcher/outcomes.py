"""How attempts end: what the breakers hear, who takes over, what the caller is told."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from orion.dispatcher.ticket import Ended
from orion.errors import (
    AgentUnavailableError,
    CancelledError,
    DeadlineExceededError,
    InvalidQueryError,
    OrionError,
    OverloadedError,
    QuarantinedError,
    ShuttingDownError,
    SlowReaderError,
    TooManyRequestsError,
    WorkerDiedError,
)
from orion.protocol import Stop

if TYPE_CHECKING:
    from orion.dispatcher.desk import Desk
    from orion.dispatcher.floor import WorkerRecord
    from orion.dispatcher.job import Job
    from orion.dispatcher.ticket import Ticket
    from orion.protocol import Done


class Outcomes:
    """Every way out of an attempt. Dispatcher thread only."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def finished(self, job: Job, done: Done) -> None:
        """The worker reached the end of the answer."""
        if not job.over:
            if done.finish_reason == "cancelled":  # it kept the deadline before we looked
                self.timed_out(job.ticket)
            else:
                self._settle(job, None)
                self._desk.quarantine.clear(job.ticket.fingerprint, job.attempt.model)
                self._desk.tickets.pop(job.ticket.request_id, None)
                self._desk.revival.proved(job.attempt.model)
                self._desk.reading.learn(job.ticket.content, done.prompt_tokens)
                job.ticket.end(done)
        took_s = self._desk.clock.now() - job.granted_s
        self._desk.scheduler.on_release(job.attempt.model, job.ticket.client, seconds=took_s)

    def broke(self, job: Job, error: OrionError) -> None:
        """The worker lives and says that the attempt failed."""
        if job.over:
            self._desk.scheduler.on_release(job.attempt.model, job.ticket.client)
            return
        self._settle(job, error)
        self._go_on(job.ticket, error, held=job.attempt.model)

    def lost(self, record: WorkerRecord, error: OrionError, *, suspect: bool) -> None:
        """The worker's process is gone, and every attempt it ran with it."""
        desk = self._desk
        jobs = list(record.jobs.values())
        record.jobs.clear()
        assert record.plan
        injected = any(job.injected for job in jobs)
        prints = [job.ticket.fingerprint for job in jobs if job.ticket.fingerprint]
        if suspect and not injected:
            desk.quarantine.note_death(prints, record.plan.model, desk.clock.now())
        # One death is one failure of an agent, however many of its answers it took along.
        voter = record.worker.id if injected or not prints else prints[0]
        live = [job for job in jobs if not job.over]
        for job in live:
            self._settle(job, error, voter=voter)
        desk.gone(record.plan.model)
        for job in live:
            self._go_on(job.ticket, error)

    def handed_back(self, ticket: Ticket, model: str, error: OrionError) -> None:
        """A place was free, and the breaker refused."""
        if ticket.ended:
            self._desk.scheduler.on_release(model, ticket.client)
        else:
            self._go_on(ticket, error, held=model)

    def failed(self, ticket: Ticket, error: OrionError) -> None:
        """The attempt could not begin."""
        if not ticket.ended:
            self._go_on(ticket, error)

    def timed_out(self, ticket: Ticket) -> None:
        """The request, or the attempt, has no time left."""
        limits, job = self._desk.limits, ticket.job
        if job is None:
            phase = "loading" if self._is_loading(ticket.model) else "waiting"
            limit_s = ticket.limit_s
        else:
            phase = "answering" if ticket.has_text else "reading the prompt"
            limit_s = ticket.limit_s if job.cut_short else limits.generate_s
        error = DeadlineExceededError(phase=phase, limit_s=limit_s)
        if job is None:
            self.end(ticket.request_id, error)
            return
        job.timed_out = True
        self.stop(job)
        # Who was let in late, and cut short for it, has not failed.
        self._settle(job, CancelledError() if job.cut_short else error)
        self._go_on(ticket, error)

    def end(self, request_id: str, error: OrionError) -> None:
        """End a request for its caller now; a worker that runs it is told to stop."""
        ticket = self._desk.tickets.get(request_id)
        if ticket is None or ticket.ended:
            return
        self._finish(ticket, error)
        if ticket.job is not None:
            self.stop(ticket.job)
            self._settle(ticket.job, error)
        else:
            self._desk.scheduler.on_leave(request_id)

    def stop(self, job: Job) -> None:
        """Have the worker let go of an attempt."""
        if job.stop_sent_s is None:
            job.stop_sent_s = self._desk.clock.now()
            record = self._desk.floor.holder(job.attempt.model)
            if record is not None:
                record.worker.send(Stop(request_id=job.id))

    def _settle(self, job: Job, error: OrionError | None, *, voter: str | None = None) -> None:
        """Tell the breaker, once. Nobody's leaving and nobody's bad input is a failure."""
        job.over = True
        if job.permit is None:
            return
        if error is None:
            job.permit.success(ttft_s=job.ttft_s, gap_s=job.gap_s)
        elif _is_failure(error):
            if voter is None and not job.injected:
                voter = job.ticket.fingerprint or None
            job.permit.failure(error, voter=voter, ttft_s=job.ttft_s, gap_s=job.gap_s)
        else:
            job.permit.release()

    def _go_on(self, ticket: Ticket, error: OrionError, *, held: str | None = None) -> None:
        """Let the next agent take over, or end; `held` is a model whose slot is still ours."""
        desk = self._desk
        index, error = self._next_attempt(ticket, error)
        if index is None or not ticket.fall_back(error, index):
            self._finish(ticket, error)
            if held is not None:
                desk.scheduler.on_release(held, ticket.client)
            return
        desk.tally.fallbacks += 1
        ticket.waiting_s = desk.clock.now()
        if held is None:
            desk.scheduler.on_resume(desk.waiter(ticket))
        else:
            desk.scheduler.on_handover(desk.waiter(ticket), held)

    def _next_attempt(self, ticket: Ticket, error: OrionError) -> tuple[int | None, OrionError]:
        """The index of who takes over, or None and what to tell the caller."""
        desk, now_s = self._desk, self._desk.clock.now()
        if not _may_fall_back(error) or now_s >= ticket.deadline_s:
            return None, error
        refusal = desk.quarantine.refusal(ticket.fingerprint, ticket.model, now_s)
        if refusal is not None and not ticket.has_text:
            return None, refusal
        hopeless = ticket.model if _would_fail_again(error) else None
        for index in range(ticket.index + 1, len(ticket.attempts)):
            attempt = ticket.attempts[index]
            if attempt.model == hopeless:
                continue
            if attempt.after_death and not isinstance(error, WorkerDiedError):
                continue
            if desk.obstacle(attempt) is None:
                return index, error
        return None, error

    def _finish(self, ticket: Ticket, error: OrionError) -> None:
        self._desk.tickets.pop(ticket.request_id, None)
        ticket.end(Ended(error=error))

    def _is_loading(self, model: str) -> bool:
        return model in self._desk.scheduler.loading


_NOBODYS_FAULT = (
    InvalidQueryError,
    CancelledError,
    OverloadedError,
    TooManyRequestsError,
    ShuttingDownError,
    SlowReaderError,
    QuarantinedError,
)


def _is_failure(error: OrionError) -> bool:
    """Whether the agent is to blame: it broke, or it ran out of time."""
    return (
        not isinstance(error, _NOBODYS_FAULT) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )


def _may_fall_back(error: OrionError) -> bool:
    """Whether another agent could do better."""
    return not isinstance(error, _NOBODYS_FAULT)


def _would_fail_again(error: OrionError) -> bool:
    """Whether another agent on the same model would only meet the same load."""
    return isinstance(error, AgentUnavailableError) and not error.retryable

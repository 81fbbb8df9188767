"""What the dispatcher thread owns of models: loads, workers, what is wrong with them.

No method may be called on another thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orion.breakers import BreakerMode, BreakerState
from orion.dispatcher.faults import Faults
from orion.dispatcher.floor import WorkerState
from orion.dispatcher.limits import Tally
from orion.dispatcher.revival import Revival
from orion.errors import AgentLoadError, CircuitOpenError, OrionError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from orion.breakers import Permit
    from orion.clock import Clock
    from orion.dispatcher.floor import LoadPlan, WorkerFloor
    from orion.dispatcher.limits import BreakerFor, DispatcherLimits, Observer, Post
    from orion.dispatcher.ticket import Ticket
    from orion.logs import Log
    from orion.scheduling import Scheduler


@dataclass(slots=True, kw_only=True)
class ModelDesk:
    """Workers and the models they hold; carries out what the scheduler decides about them."""

    limits: DispatcherLimits
    plan: Callable[[str], LoadPlan]
    floor: WorkerFloor
    breaker_for: BreakerFor
    used_models: frozenset[str]
    free_bytes: Callable[[], int | None]
    most_bytes: int | None
    observer: Observer
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
    beginnings: dict[str, str] = field(default_factory=dict)
    revival: Revival = field(default_factory=Revival)
    scheduler: Scheduler = field(init=False)
    _planned_bytes: dict[str, int] = field(default_factory=dict)

    def start_load(self, model: str, *, speculative: bool) -> None:
        """Begin a load, if its breaker lets it."""
        self.tally.speculative_loads += speculative
        self.log.info("load.begins", model=model, speculative=speculative)
        try:
            self.forget_plan(model)  # the next load is planned for what is free then
            plan = self.plan(model)
            self.load_permits[model] = self._load_permit(model)
            fault = self.faults.take(model, "load")
            begin = self.beginnings.pop(model, "")
            load = replace(plan.load, fault=fault, begin=begin if speculative else "")
            self.floor.load(replace(plan, load=load))
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
            self.tally.evictions += 1
            self.log.info("model.leaves", model=model, worker=record.worker.id)
            self.floor.end(record)

    def abort_load(self, model: str) -> None:
        """End the worker of a load that was only a guess."""
        self.notify("gone", model, speculative_unused=True)
        self._give_up_load(model)

    def _give_up_load(self, model: str) -> None:
        record = self.floor.holder(model)
        if record is None:  # it could not even begin
            self.post(lambda: self.scheduler.on_gone(model))
            return
        self.log.info("load.given_up", model=model, worker=record.worker.id)
        record.state = WorkerState.LEAVING
        self.floor.kill(record)

    def need_bytes(self, model: str) -> int:
        """What its plan says that it takes."""
        if model not in self._planned_bytes:
            try:
                self._planned_bytes[model] = self.plan(model).need_bytes
            except Exception:  # noqa: BLE001 - the load itself will say what is wrong
                return 0
        return self._planned_bytes[model]

    def forget_plan(self, model: str) -> None:
        """Have it planned anew: with more or less room it may take more or less."""
        self._planned_bytes.pop(model, None)

    def total_bytes(self) -> int | None:
        """What models could have at most."""
        return self.most_bytes

    def retire(self, model: str) -> None:
        """What was known of `model` holds no more: let it go once idle, and back as it is now.

        A load under way begins anew: who waits for it may know `model` only as it is now.
        """
        self.forget_plan(model)
        self.scheduler.cache.measured_bytes.pop(model, None)
        self.scheduler.pace.forget(model)
        self.load_errors.pop(model, None)
        is_pinned = model in self.scheduler.cache.pinned
        record = self.floor.holder(model)
        if record is not None:
            record.renewing = model in self.used_models and not self._is_speculative(model)
            record.dismissed = not record.renewing
        if model in self.scheduler.loading:
            give_up = self.abort_load if self._is_speculative(model) else self._give_up_load
            self.scheduler.cache.abort(model)
            give_up(model)
        self.scheduler.ask_unload(model)
        if is_pinned:
            self.scheduler.cache.pinned.add(model)

    def notify(self, event: str, model: str, **facts: Any) -> None:
        """Tell the observer; what goes wrong there is not ours."""
        try:
            self.observer(event, model, facts)
        except Exception:
            self.log.exception("observer.failed")

    def load_ended(self, model: str) -> None:
        """A load ended well: its breaker and its model's past are told."""
        self.last_load_error = None
        self.load_errors.pop(model, None)
        self.revival.back(model, self.clock.now())
        self.tally.loads += 1
        load = self.scheduler.loading.get(model)
        seconds = 0.0 if load is None else self.clock.now() - load.since_s
        self.notify("loaded", model, seconds=seconds, speculative=bool(load and load.speculative))
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
        if self._is_speculative(model):
            self.notify("gone", model, speculative_unused=True)
        if not self._is_mere_guess(model) and (
            model in self.used_models or model in self.revival.models
        ):
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
        held = self.scheduler.resident.get(model)
        if held is not None:
            self.notify("gone", model, speculative_unused=held.speculative)
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
            self.last_load_error = error
            if not self._is_mere_guess(model):  # which nobody missed, and nobody repeats
                self.load_errors[model] = error
        return error

    def _is_speculative(self, model: str) -> bool:
        load = self.scheduler.loading.get(model)
        return load is not None and load.speculative

    def _is_mere_guess(self, model: str) -> bool:
        """Whether it is loaded on a guess that nobody has joined."""
        return self._is_speculative(model) and model not in self.scheduler.lines

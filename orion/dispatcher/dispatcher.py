"""One thread, one inbox: every decision about who runs is taken here, in order.

Text does not pass through it: a worker's reader thread hands `Delta` frames straight
to the ticket, and only grants, ends and failures queue up here.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from orion.dispatcher.arrivals import Arrivals
from orion.dispatcher.desk import Desk
from orion.dispatcher.floor import StartWorker, WorkerFloor, WorkerRecord
from orion.dispatcher.survey import model_rows, queue_row
from orion.dispatcher.ticket import Ended, Ticket
from orion.dispatcher.watch import ReadPulse, Watch
from orion.errors import CancelledError, OrionError, ShuttingDownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orion.clock import Clock
    from orion.dispatcher.faults import Faults
    from orion.dispatcher.floor import LoadPlan
    from orion.dispatcher.limits import BreakerFor, DispatcherLimits, Observer, Tally
    from orion.logs import Log

_TICK_S = 0.05
_TELL_EVERY_S = 0.25
_CLOSE_LIMIT_S = 4.0
_LAST_EXIT_S = 0.6


def _unknown() -> int | None:
    return None


def _nobody(_event: str, _model: str, _facts: dict[str, Any]) -> None:
    return None


class Dispatcher:
    """Owns the scheduler and the workers. Public methods are safe from any thread."""

    def __init__(
        self,
        *,
        limits: DispatcherLimits,
        plan: Callable[[str], LoadPlan],
        start_worker: StartWorker,
        breaker_for: BreakerFor,
        read_pulse: ReadPulse,
        used_models: frozenset[str] = frozenset(),
        free_bytes: Callable[[], int | None] = _unknown,
        total_bytes: int | None = None,
        observer: Observer = _nobody,
        clock: Clock,
        log: Log,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._log = log
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._floor = WorkerFloor(start_worker, clock=clock)
        self._desk = Desk(
            limits=limits,
            plan=plan,
            floor=self._floor,
            breaker_for=breaker_for,
            used_models=used_models,
            free_bytes=free_bytes,
            most_bytes=total_bytes,
            observer=observer,
            clock=clock,
            log=log,
            post=self._inbox.put,
        )
        arrivals = Arrivals(self._desk)
        self._watch = Watch(self._desk, arrivals, read_pulse)
        self._floor.connect(arrivals.frame_arrived, arrivals.worker_exited)
        self._breaker_for = breaker_for
        self._draining = False
        self._looked_s = clock.now()
        self._told_s = clock.now()
        self._spares_wanted = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orion-dispatcher", daemon=True)
        self._thread.start()

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the engine stops."""
        return self._draining

    @property
    def silent_s(self) -> float:
        """For how long the dispatcher's thread has not looked around; it should every 0.05 s."""
        return 0.0 if self._stopped.is_set() else self._clock.now() - self._looked_s

    @property
    def last_load_error(self) -> OrionError | None:
        """Why the latest load failed; None once one ended well."""
        return self._desk.last_load_error

    @property
    def load_errors(self) -> dict[str, OrionError]:
        """Model → why its latest load failed, for those whose latest load did."""
        return dict(self._desk.load_errors)

    @property
    def tally(self) -> Tally:
        """What has happened since the start. Read only."""
        return self._desk.tally

    @property
    def faults(self) -> Faults:
        """Where faults to inject are put."""
        return self._desk.faults

    @property
    def missing(self) -> frozenset[str]:
        """Models that ought to be resident and are being brought back."""
        return self._desk.revival.models

    @property
    def quarantined(self) -> int:
        """How many contents are refused now."""
        return self._desk.quarantine.count(self._clock.now())

    def submit(self, ticket: Ticket) -> None:
        """Queue a request; answers come on `ticket`."""
        ticket.submitted_s = self._clock.now()
        self._inbox.put(lambda: self._submit(ticket))
        if self._stopped.is_set():  # nobody may read the inbox any more
            ticket.end(Ended(error=ShuttingDownError()))

    def cancel(self, request_id: str) -> None:
        """End a request wherever it is; nothing happens when it is not here."""
        self._inbox.put(lambda: self._desk.outcomes.end(request_id, CancelledError()))

    def keep(self, model: str) -> None:
        """Have `model` resident when there is room, and again when its worker is lost."""
        self._inbox.put(lambda: self._keep(model))

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

    def prefetch(self, model: str, *, begin: str = "", wait_s: float = 0.0) -> bool:
        """Load `model` on a guess, where that costs nobody anything.

        `begin` is the system prompt it will probably be asked with; it is read right away.
        Returns whether that is so, as far as it was known within `wait_s`.
        """
        begun: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._inbox.put(lambda: begun.put(self._guess(model, begin)))
        try:
            return begun.get(timeout=wait_s)
        except queue.Empty:
            return False

    def pin(self, model: str, *, pinned: bool) -> None:
        """Have `model` leave only when asked to, or not any more."""
        pins = self._desk.scheduler.cache.pinned
        self._inbox.put(lambda: pins.add(model) if pinned else pins.discard(model))

    def use(self, models: frozenset[str]) -> None:
        """Have `models` be those that agents use from now on."""
        self._inbox.put(lambda: setattr(self._desk, "used_models", models))

    def retire(self, models: Iterable[str]) -> None:
        """Let `models` go once idle: what is known of them holds no more."""
        for model in list(models):
            self._inbox.put(partial(self._desk.retire, model))

    def refusal(self, client: str) -> OrionError | None:
        """What a newcomer would hear now if the system is full for it; a moment old."""
        return self._desk.scheduler.door.refusal(client)

    def retry_after_s(self) -> float:
        """When it is worth coming back, for one who is refused before it gets here."""
        return self._desk.scheduler.door.retry_after_s()

    def models(self) -> list[dict[str, Any]]:
        """The models in memory or on their way, as plain values; a moment old."""
        return model_rows(self._desk.scheduler, self._clock.now())

    def queue(self) -> dict[str, Any]:
        """Who waits, as plain values; a moment old."""
        return queue_row(self._desk.scheduler)

    def records(self) -> list[WorkerRecord]:
        """The workers as they are now. Read only."""
        return list(self._floor.records.values())

    def counts(self) -> dict[str, int]:
        """Requests running and waiting, and what there is room for."""
        scheduler = self._desk.scheduler
        return {
            "running": scheduler.running,
            "waiting": scheduler.num_waiting,
            "peak": scheduler.peak,
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

    def _keep(self, model: str) -> None:
        self._desk.revival.wanted(model, self._clock.now())
        self._revive()

    def _submit(self, ticket: Ticket) -> None:
        if self._draining:
            ticket.end(Ended(error=ShuttingDownError()))
            return
        try:
            self._desk.admit(ticket)
        except Exception:
            ticket.end(Ended(error=OrionError()))  # a bug of ours must not leave a caller waiting
            raise

    def _tick(self) -> None:
        self._looked_s = self._clock.now()
        self._watch.look()
        self._watch.check_readers()
        if self._draining:
            return
        self._revive()
        self._desk.scheduler.on_look()
        if self._looked_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = self._looked_s
            self._desk.tell_places()
        if not self._desk.scheduler.loading:
            self._floor.keep_spares(self._limits.spare_class, self._spares_wanted)

    def _guess(self, model: str, begin: str) -> bool:
        self._desk.beginnings[model] = begin
        refused = self._draining or self._breaker_for("load", model).would_refuse()
        if refused or not self._desk.scheduler.on_prefetch(model):
            self._desk.beginnings.pop(model, None)
            self._desk.notify("declined", model)
            return False
        return True

    def _revive(self) -> None:
        """Load again what was lost, unless a request has seen to it."""
        desk = self._desk
        for model in desk.revival.due(self._clock.now()):
            is_there = model in desk.scheduler.resident
            if not is_there and self._breaker_for("load", model).would_refuse():
                continue
            if is_there or not desk.scheduler.on_wanted(model):
                desk.revival.forget(model)

    def _drain(self) -> None:
        self._draining = True
        self._desk.scheduler.turns.drop_guess()  # or its load would begin among the goodbyes
        for request_id in self._desk.scheduler.waiting(resuming=False):
            self._desk.outcomes.end(request_id, ShuttingDownError())

    def _close(self) -> None:
        for request_id in list(self._desk.tickets):
            self._desk.outcomes.end(request_id, ShuttingDownError())
        for model in list(self._desk.scheduler.loading):
            self._desk.scheduler.cache.abort(model)
        for record in list(self._floor.records.values()):
            self._floor.end(record, within_s=_LAST_EXIT_S)
        until_s = self._clock.now() + _CLOSE_LIMIT_S
        while self._floor.records and self._clock.now() < until_s:
            self._handle_next()
            self._floor.kill_overdue()
        for model in list(self._desk.load_permits):
            self._desk.drop_load(model)
        self._stopped.set()
        while not self._inbox.empty():  # a request that came in between hears of it too
            self._handle(self._inbox.get())

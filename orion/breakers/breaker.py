"""A circuit breaker whose work runs outside its lock: a permit in, an outcome out."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from pybreaker import CircuitBreakerListener

from orion.breakers.circuit import Circuit
from orion.breakers.delivery import CLOSE_S, Delivery
from orion.breakers.machine import Machine
from orion.breakers.permit import Outcome, OutcomeKind, Permit
from orion.breakers.snapshot import snapshot_of
from orion.breakers.state import BreakerEvent, BreakerMode, BreakerState, ErrorNote
from orion.clock import MonotonicClock
from orion.errors import BreakerMisuseError, CircuitOpenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.breakers.config import BreakerConfig
    from orion.clock import Clock
    from orion.logs import Log

Listener = CircuitBreakerListener | Callable[[BreakerEvent], object]
"""Gets events: a function of one, or pybreaker's listener (`state_change` only)."""

_BAD_RESULT = ErrorNote("bad_result", "The result was refused by a rule.")


class Breaker:
    """Pauses what keeps failing. Every method may be called from any thread.

    A call asks for a permit (`acquire`), works without any lock, and reports through the permit.
    Both ends are short: a refusal never waits for a trial.

    Args:
        name: `kind:target`, as in `generate:code-agent`.
        config: The rules.
        clock: Monotonic seconds; the wall clock is never asked.
        random: Draws the jitter.
        log: Told once of a listener or a rule that misbehaves.
        mode: The mode it starts in and a reset leads back to.
    """

    def __init__(
        self,
        name: str,
        config: BreakerConfig,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        log: Log | None = None,
        mode: BreakerMode = BreakerMode.NORMAL,
    ) -> None:
        self.name = name
        self._clock = clock or MonotonicClock()
        self._log = log
        self._circuit = Circuit(name)
        self._machine = Machine(
            name,
            config,
            self._circuit.storage,
            mode=mode,
            random=random or Random(),  # noqa: S311 - jitter
            emit=self._emit,
        )
        self._process = os.getpid()
        self._lock = threading.RLock()  # of all locks, because it knows who holds it
        self._numbers = itertools.count(1)  # pragma: no mutate - any start above 0 will do
        self._inbox: deque[tuple[float, Outcome]] = deque()
        self._listeners: tuple[tuple[Delivery, Callable[[BreakerEvent], object]], ...] = ()
        self._own_deliveries: list[Delivery] = []
        self._first_complaint = threading.Lock()

    def acquire(self) -> Permit:
        """A permit for one call.

        Raises:
            CircuitOpenError: The breaker is open, or as many trials run as may.
        """
        return self._admit(self._machine.knock)

    def admit(self) -> Permit:
        """A permit for a call nobody may refuse: where `acquire` would, it only counts."""
        return self._admit(self._machine.knock_as_last_resort)

    def would_refuse(self) -> CircuitOpenError | None:
        """What `acquire` would raise now, or None. Asking uses nothing up."""
        with self._section() as now_s:
            wait_s = self._machine.wait_s(now_s)
            return None if wait_s is None else self._machine.refusal(wait_s)

    @property
    def state(self) -> BreakerState:
        """Where it stands. After a break it stays open until a call half-opens it."""
        with self._section():
            return self._machine.state

    @property
    def mode(self) -> BreakerMode:
        """Who decides."""
        with self._section():
            return self._machine.mode

    @property
    def generation(self) -> int:
        """How often it has changed."""
        with self._section():
            return self._machine.generation

    @property
    def retry_after_s(self) -> float:
        """Seconds until `acquire` may let a call through; 0: now, `inf`: after a reset."""
        with self._section() as now_s:
            return self._machine.wait_s(now_s) or 0.0

    @property
    def config(self) -> BreakerConfig:
        """The rules."""
        return self._machine.config

    def snapshot(self) -> dict[str, Any]:
        """Everything countable at one instant, ready for JSON."""
        with self._section() as now_s:
            return snapshot_of(self._machine, now_s)

    def tick(self) -> None:
        """Let time act without a call: expire trials, take back lost permits."""
        with self._section():
            pass

    def force_open(self) -> None:
        """Refuse everything until a reset."""
        with self._section() as now_s:
            self._machine.set_mode(now_s, BreakerMode.FORCED_OPEN)

    def disable(self) -> None:
        """Let everything through and count nothing.

        Raises:
            IllegalTransitionError: It is forced open.
        """
        with self._section() as now_s:
            self._machine.set_mode(now_s, BreakerMode.DISABLED)

    def metrics_only(self) -> None:
        """Let everything through and count; reaching a threshold is told once.

        Raises:
            IllegalTransitionError: It is forced open.
        """
        with self._section() as now_s:
            self._machine.set_mode(now_s, BreakerMode.METRICS_ONLY)

    def half_open(self) -> None:
        """End the break now, so that the next call is a trial.

        Raises:
            IllegalTransitionError: It is not open, or forced open.
        """
        with self._section() as now_s:
            self._machine.half_open(now_s)

    def reset(self) -> None:
        """Closed, with nothing held against it; totals go on, calls in flight decide nothing."""
        with self._section() as now_s:
            self._machine.reset(now_s)

    def reconfigure(self, config: BreakerConfig) -> None:
        """Other rules from the next decision on; counts and a break under way stay."""
        with self._section() as now_s:
            self._machine.reconfigure(now_s, config)

    def subscribe(self, listener: Listener) -> None:
        """Have `listener` told of every event from now on, on a thread of its own."""
        delivery = Delivery(clock=self._clock, log=self._log)
        self._own_deliveries.append(delivery)
        self.attach(listener, delivery)

    def attach(self, listener: Listener, delivery: Delivery) -> None:
        """Have `listener` told through `delivery`, which several breakers may share."""
        if isinstance(listener, CircuitBreakerListener):
            listener = partial(self._circuit.tell, listener)
        with self._section():
            self._listeners += ((delivery, listener),)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the listeners have heard what happened so far; whether they did, in time."""
        return all(delivery.flush(timeout_s) for delivery, _ in self._listeners)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """End the threads of its own listeners."""
        for delivery in self._own_deliveries:
            delivery.close(timeout_s)

    # What permits call.

    def now(self) -> float:
        """The breaker's clock."""
        return self._clock.now()

    def succeeded(
        self, permit: int, *, ttft_s: float | None, gap_s: float | None, result: object
    ) -> None:
        """Judge a result and its times outside the lock, and report it."""
        config = self.config
        slow = config.is_slow(ttft_s, gap_s)
        is_bad = config.bad_result and self._ask(config.bad_result, result)
        kind = OutcomeKind.FAILURE if is_bad else OutcomeKind.SUCCESS
        self.report(Outcome(permit, kind, slow, _BAD_RESULT))

    def failed(
        self,
        permit: int,
        error: BaseException,
        *,
        voter: str | None,
        ttft_s: float | None,
        gap_s: float | None,
    ) -> None:
        """Judge an error outside the lock, and report it; one a rule cannot judge counts."""
        config = self.config
        slow = config.is_slow(ttft_s, gap_s)
        is_ignored = self._ask(config.counts, error) is False
        kind = OutcomeKind.IGNORED if is_ignored else OutcomeKind.FAILURE
        self.report(Outcome(permit, kind, slow, ErrorNote.of(error), voter))

    def report(self, outcome: Outcome) -> None:
        """Take an outcome in; in a forked child, nothing happens.

        Where this thread is inside already (a finalizer interrupted it), the outcome waits for
        whoever asks the breaker next.
        """
        if os.getpid() != self._process:
            return
        self._inbox.append((self._clock.now(), outcome))
        if not self._is_inside():
            self.tick()

    def lost(self, permit: int) -> None:
        """Take back a permit that was collected without outcome; takes no lock."""
        self._inbox.append((self._clock.now(), Outcome(permit, OutcomeKind.IGNORED)))

    def _admit(self, knock: Callable[[float], int]) -> Permit:
        with self._section() as now_s:
            machine, number = self._machine, next(self._numbers)
            generation = knock(now_s)
            # The permit is made first: interrupted here, it gives itself back.
            permit = Permit(self, number, generation, is_trial=machine.is_trial(generation))
            machine.admit(now_s, number, generation)
            return permit

    def _hold(self) -> Iterator[float]:
        """Hold the lock with everything settled up to now, which is what it gives."""
        if os.getpid() != self._process:
            raise BreakerMisuseError(breaker=self.name, reason="belongs to the parent process")
        if self._is_inside():
            raise BreakerMisuseError(breaker=self.name, reason="was called from inside itself")
        with self._lock:
            now_s = self._clock.now()
            self._settle(now_s)
            yield now_s

    _section = contextmanager(_hold)

    def _is_inside(self) -> bool:
        """Whether this very thread holds the lock: a finalizer or a signal interrupted it."""
        owned: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001
        return owned

    def _settle(self, now_s: float) -> None:
        while self._inbox:
            at_s, outcome = self._inbox.popleft()
            self._machine.expire(at_s)
            self._take(at_s, outcome)
        self._machine.expire(now_s)

    def _take(self, at_s: float, outcome: Outcome) -> None:
        permit, kind, slow, error, voter = outcome
        match kind:
            case OutcomeKind.SUCCESS:
                self._machine.succeed(at_s, permit, slow=slow)
            case OutcomeKind.FAILURE:
                self._machine.fail(at_s, permit, error, slow=slow, voter=voter)
            case OutcomeKind.IGNORED:
                self._machine.ignore(permit)

    def _emit(self, event: BreakerEvent) -> None:
        for delivery, tell in self._listeners:
            delivery.put(tell, event)

    def _ask(self, question: Callable[[Any], bool], subject: object) -> bool | None:
        """The answer of a rule; None where it raises, which is logged once."""
        try:
            return bool(question(subject))
        except Exception as error:  # noqa: BLE001 - a rule of the configuration
            if self._log is not None and self._first_complaint.acquire(blocking=False):
                self._log.warning(
                    "breaker.rule", breaker=self.name, problem=f"raised {type(error).__name__}"
                )
            return None

"""The rules of one breaker: no lock, no clock, no threads; every method is told the time."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from orion.breakers.state import (
    TRANSITIONS,
    BreakerEvent,
    BreakerMode,
    BreakerState,
    ErrorNote,
    EventKind,
    OpenReason,
)
from orion.breakers.trials import Trials
from orion.breakers.window import Window
from orion.errors import (
    AgentPausedError,
    CircuitOpenError,
    DeadlineExceededError,
    IllegalTransitionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from pybreaker import CircuitMemoryStorage

    from orion.breakers.config import BreakerConfig

OUTSIDE = -1
"""The generation of calls that only count."""

ASK_AGAIN_S = 3600.0
"""What a caller is told to wait where nobody knows: forced open, or open until a reset."""


@dataclass(slots=True)
class Tally:
    """Calls since the start; `admitted` = `successes` + `failures` + `ignored` + in flight."""

    admitted: int = 0
    successes: int = 0
    failures: int = 0
    ignored: int = 0
    refused: int = 0
    opened: int = 0


class Machine:
    """States, counters and permits of one breaker. One thread at a time.

    A permit is a number and carries the generation it was admitted in. Every change of state
    begins a new generation; the outcome of an older one is counted and decides nothing.
    """

    def __init__(
        self,
        name: str,
        config: BreakerConfig,
        storage: CircuitMemoryStorage,
        *,
        mode: BreakerMode,
        random: Random,
        emit: Callable[[BreakerEvent], None],
    ) -> None:
        self.name = name
        self.config = config
        self.mode = mode
        self.generation = 0
        self.tally = Tally()
        self.window = Window()
        self.trials = Trials(storage)
        self.flights: dict[int, int] = {}
        self.last_error: ErrorNote | None = None
        self.cause: str  # why it is open
        self._storage = storage
        self._resting_mode = mode
        self._random = random
        self._emit = emit
        self._open_until_s: float
        self._reopened = 0
        self._crossings = 0

    @property
    def state(self) -> BreakerState:
        """Where the breaker stands; the storage holds what `_enter` put there."""
        return cast("BreakerState", self._storage.state)

    @property
    def consecutive(self) -> int:
        """Failures in a row."""
        return self._storage.counter

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until a call may be let through; `inf`: after a reset; None: now."""
        match self.state:
            case BreakerState.OPEN if now_s < self._open_until_s:
                return self._open_until_s - now_s
            case BreakerState.HALF_OPEN if not self.trials.has_room(self.config):
                return self.trials.first_due_s - now_s
        return None

    def refusal(self, wait_s: float) -> CircuitOpenError:
        """The error of a call that has to wait for `wait_s`."""
        agent = self.name.partition(":")[2] or self.name
        wait_s = min(wait_s, ASK_AGAIN_S)
        by_hand = self.mode is BreakerMode.FORCED_OPEN
        error = AgentPausedError if by_hand else CircuitOpenError
        return error(agent=agent, cause=self.cause, retry_after_s=wait_s)

    def knock(self, now_s: float) -> int:
        """The generation a call would run in; the first call after a break half-opens.

        Raises:
            CircuitOpenError: It may not run.
        """
        wait_s = self.wait_s(now_s)
        if wait_s is not None:
            self.tally.refused += 1
            raise self.refusal(wait_s)
        if self.state is BreakerState.OPEN:
            self._move(now_s, BreakerState.HALF_OPEN, EventKind.HALF_OPENED)
        return self.generation

    def knock_as_last_resort(self, now_s: float) -> int:
        """What `knock` gives; where it would refuse, `OUTSIDE`."""
        return self.knock(now_s) if self.wait_s(now_s) is None else OUTSIDE

    def admit(self, now_s: float, permit: int, generation: int) -> None:
        """Count a permit in; while disabled nothing is counted, and its outcome neither."""
        if self.mode is BreakerMode.DISABLED:
            return
        self.tally.admitted += 1
        self.flights[permit] = generation
        if self.is_trial(generation):
            self.trials.start(permit, now_s + self.config.trial_s)

    def is_trial(self, generation: int) -> bool:
        """Whether a call admitted in `generation` is a trial."""
        return generation == self.generation and self.state is BreakerState.HALF_OPEN

    def expire(self, now_s: float) -> None:
        """A trial whose time is up failed at the moment it was up; old outcomes are forgotten."""
        for due_s, permit in self.trials.overdue(now_s):
            late = DeadlineExceededError(phase="trying again", limit_s=self.config.trial_s)
            self.fail(due_s, permit, ErrorNote.of(late), slow=False)
        self.window.forget(now_s, self.config.window_s)

    def succeed(self, now_s: float, permit: int, *, slow: bool) -> None:
        """Take in a success."""
        is_current = self._land(permit)
        self.tally.successes += is_current is not None
        if not is_current:
            return
        self.window.add(now_s, failed=False, slow=slow)
        if self.state is BreakerState.HALF_OPEN:
            self.trials.succeeded(slow=slow)
            self._judge_trials(now_s)
            return
        self._storage.reset_counter()
        if slow:
            self._judge_slowness(now_s)

    def fail(
        self,
        now_s: float,
        permit: int,
        error: ErrorNote,
        *,
        slow: bool,
        voter: str | None = None,
    ) -> None:
        """Take in a failure; a voter that has voted within the span is only counted again."""
        is_current = self._land(permit)
        self.tally.failures += is_current is not None
        if not is_current:
            return
        is_trial = self.state is BreakerState.HALF_OPEN
        if not is_trial and self.window.has_voted(voter):
            return
        self.last_error = error
        self.window.add(now_s, failed=True, slow=slow, voter=voter)
        self._storage.increment_counter()
        if is_trial:
            self.trials.failed(slow=slow)
            self._judge_trials(now_s)
        else:
            self._judge_failure(now_s, slow=slow)

    def ignore(self, permit: int) -> None:
        """Give a permit back: neither success nor failure."""
        self.tally.ignored += self._land(permit) is not None

    def reconfigure(self, now_s: float, config: BreakerConfig) -> None:
        """Go on by other numbers; what was counted stays, a break under way keeps its end."""
        self.config = config
        if self.state is BreakerState.HALF_OPEN:
            self._judge_trials(now_s)

    def reset(self, now_s: float) -> None:
        """Closed, by the rules, nothing held against it; calls in flight decide nothing."""
        self.mode = self._resting_mode
        self.last_error = None
        self._enter(now_s, BreakerState.CLOSED, EventKind.RESET)

    def half_open(self, now_s: float) -> None:
        """End the break now: the next call is a trial.

        Raises:
            IllegalTransitionError: It is not open, or a person forced it open.
        """
        if self.mode is BreakerMode.FORCED_OPEN:
            raise self._illegal(self.mode, BreakerState.HALF_OPEN)
        self._move(now_s, BreakerState.HALF_OPEN, EventKind.HALF_OPENED)

    def set_mode(self, now_s: float, mode: BreakerMode) -> None:
        """Force open, switch off, or only watch. What it is already changes nothing.

        Raises:
            IllegalTransitionError: Forced open ends by a reset only.
        """
        if self.mode is mode:
            return
        if self.mode is BreakerMode.FORCED_OPEN:
            raise self._illegal(self.mode, mode)
        self.mode = mode
        if mode is BreakerMode.FORCED_OPEN:
            self.cause = mode
            self._open_until_s = math.inf
            self._enter(now_s, BreakerState.OPEN, EventKind.FORCED_OPEN)
        else:
            self._enter(now_s, BreakerState.CLOSED, EventKind(mode))

    def _land(self, permit: int) -> bool | None:
        """Whether the permit is of this generation; None: its outcome is known already."""
        generation = self.flights.pop(permit, None)
        self.trials.leave(permit)
        return None if generation is None else generation == self.generation

    def _judge_failure(self, now_s: float, *, slow: bool) -> None:
        if self._storage.counter >= self.config.failures:
            self._trip(now_s, OpenReason.CONSECUTIVE)
        elif self._is_over(self.window.failure_ratio, self.config.failure_rate):
            self._trip(now_s, OpenReason.FAILURE_RATE)
        elif slow:
            self._judge_slowness(now_s)

    def _judge_slowness(self, now_s: float) -> None:
        if self._is_over(self.window.slow_ratio, self.config.slow_rate):
            self._trip(now_s, OpenReason.SLOW_RATE)

    def _is_over(self, ratio: float, limit: float) -> bool:
        return self.window.calls >= self.config.minimum_calls and ratio >= limit

    def _judge_trials(self, now_s: float) -> None:
        objection = self.trials.objection(self.config)
        if objection is not None:
            self._reopened += 1
            self._trip(now_s, objection)
        elif self.trials.are_complete(self.config):
            self._move(now_s, BreakerState.CLOSED, EventKind.CLOSED)

    def _trip(self, now_s: float, reason: OpenReason) -> None:
        if self.mode is BreakerMode.METRICS_ONLY:
            self._crossings += 1
            if self._crossings == 1:
                self._tell(now_s, self.state, EventKind.THRESHOLD, reason)
            return
        self.cause = self._cause_of(reason)
        break_s = self._draw_break_s()
        self._open_until_s = now_s + break_s
        self._move(now_s, BreakerState.OPEN, EventKind.OPENED, reason, break_s)

    def _cause_of(self, reason: OpenReason) -> str:
        if self.last_error is None or reason in {OpenReason.SLOW_RATE, OpenReason.TRIAL_SLOW}:
            return "slow"
        return self.last_error.code

    def _draw_break_s(self) -> float:
        """The break to come: the configured generator's, else ours with growth and jitter."""
        config, window = self.config, self.window
        share = self._random.uniform(1 - config.jitter, 1 + config.jitter)
        break_s = config.break_after(self._reopened) * share
        if config.break_length is not None:
            # A generator that raises, or answers nan or less than nothing, is passed over.
            with contextlib.suppress(Exception):
                given_s = config.break_length(window.failure_ratio, window.failures, self._reopened)
                break_s = given_s if given_s >= 0 else break_s
        return min(break_s, config.break_max_s)

    def _move(
        self,
        now_s: float,
        state: BreakerState,
        kind: EventKind,
        reason: OpenReason | None = None,
        break_s: float | None = None,
    ) -> None:
        if (self.state, state) not in TRANSITIONS:
            raise self._illegal(self.state, state)
        self._enter(now_s, state, kind, reason, break_s)

    def _enter(
        self,
        now_s: float,
        state: BreakerState,
        kind: EventKind,
        reason: OpenReason | None = None,
        break_s: float | None = None,
    ) -> None:
        old = self.state
        self.generation += 1
        self.trials.clear()
        self._crossings = 0
        self._storage.state = state
        if state is BreakerState.CLOSED:
            self.window.clear()
            self._storage.reset_counter()
            self._reopened = 0
        self.tally.opened += state is BreakerState.OPEN and old is not state
        self._tell(now_s, old, kind, reason, break_s)

    def _tell(
        self,
        now_s: float,
        old: BreakerState,
        kind: EventKind,
        reason: OpenReason | None = None,
        break_s: float | None = None,
    ) -> None:
        self._emit(
            BreakerEvent(
                kind=kind,
                name=self.name,
                old=old,
                new=self.state,
                mode=self.mode,
                generation=self.generation,
                at_s=now_s,
                reason=reason,
                error=self.last_error,
                break_s=break_s,
            )
        )

    def _illegal(self, source: str, target: str) -> IllegalTransitionError:
        return IllegalTransitionError(breaker=self.name, source=source, target=target)

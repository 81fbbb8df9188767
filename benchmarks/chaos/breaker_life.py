"""Simulated lives of a breaker: faults come and go, callers arrive, nobody helps."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from orion.breakers import Breaker, BreakerConfig, BreakerState
from orion.clock import ManualClock
from orion.errors import CancelledError, CircuitOpenError, OutOfMemoryError

if TYPE_CHECKING:
    from orion.breakers import Permit

_LEAVING = 0.05
_BOOM = OutOfMemoryError(reason="injected")


@dataclass(order=True)
class _Call:
    """A call under way: when it ends, and how."""

    ends_s: float
    number: int
    permit: Permit = field(compare=False)
    fate: str = field(compare=False)


class Life:
    """One breaker, callers at random moments, and an agent that is ill at times.

    While ill a call fails, hangs until long after its deadline, or is forgotten by its caller;
    while well it succeeds. At all times some callers leave.
    """

    def __init__(self, seed: int, *, gap_s: float) -> None:
        self.dice = Random(seed)  # noqa: S311 - a simulation
        self.clock = ManualClock()
        self.longest_call_s = self.dice.uniform(0.5, 8.0)
        self.gap_s = gap_s
        self.rules = BreakerConfig(
            break_s=self.dice.choice([1.0, 5.0, 30.0]),
            break_max_s=self.dice.choice([60.0, 300.0]),
            trials=self.dice.choice([1, 1, 1, 3]),
            trial_s=self.dice.choice([30.0, 90.0]),
        )
        self.breaker = Breaker("generate:life", self.rules, clock=self.clock, random=self.dice)
        self.is_ill = False
        self._calls: list[_Call] = []
        self._count = 0

    def step(self) -> None:
        """Time passes until the next caller; calls that end before then report."""
        until_s = self.clock.now() + self.dice.uniform(0.0, 2.0 * self.gap_s)
        while self._calls and self._calls[0].ends_s <= until_s:
            call = heapq.heappop(self._calls)
            self._move_to(call.ends_s)
            self._report(call)
        self._move_to(until_s)
        try:
            permit = self.breaker.acquire()
        except CircuitOpenError:
            return
        self._count += 1
        fate = self._fate()
        takes_s = self.dice.uniform(0.1, self.longest_call_s)
        if fate == "hang":
            takes_s += 2 * self.rules.trial_s
        if fate != "forgotten":
            ends_s = self.clock.now() + takes_s
            heapq.heappush(self._calls, _Call(ends_s, self._count, permit, fate))

    def is_closed(self) -> bool:
        """Whether the breaker is closed now."""
        return self.breaker.state is BreakerState.CLOSED

    def has_ill_trials(self) -> bool:
        """Whether a trial that began while the agent was ill has no outcome yet."""
        return any(
            call.fate in {"fail", "hang"} and call.permit.is_trial for call in self._calls
        ) and bool(self.breaker.snapshot()["trial_in_flight"])

    def _fate(self) -> str:
        if self.dice.random() < _LEAVING:
            return "leave"
        if not self.is_ill:
            return "succeed"
        return self.dice.choice(["fail", "fail", "fail", "hang", "forgotten"])

    def _report(self, call: _Call) -> None:
        if call.fate == "fail":
            call.permit.failure(_BOOM)
        elif call.fate == "leave":
            call.permit.failure(CancelledError())
        else:
            call.permit.success(ttft_s=0.5, gap_s=0.1)

    def _move_to(self, at_s: float) -> None:
        self.clock.advance(max(0.0, at_s - self.clock.now()))


@dataclass(frozen=True)
class Recovery:
    """How long it took until closed again, and how long it might have."""

    seed: int
    took_s: float
    allowed_s: float

    @property
    def in_time(self) -> bool:
        """Whether it closed within what was left of the break and one round of trials."""
        return self.took_s <= self.allowed_s


def recover(seed: int) -> Recovery:
    """Let an agent be ill for a while and well again, and wait until its breaker closes.

    The fault is over once the agent is well and the last trial begun before has ended or
    expired. Allowed from then on: the break in force, a caller's arrival and one call for each
    trial, and the same again for every trial whose caller left (it decides nothing).
    """
    life = Life(seed, gap_s=0.25)
    for _ in range(life.dice.randrange(200, 4000)):
        life.step()
    life.is_ill = True
    ill_until_s = life.clock.now() + life.dice.uniform(60.0, 1200.0)
    while life.clock.now() < ill_until_s or life.is_closed():
        life.step()
    life.is_ill = False
    while life.has_ill_trials():
        life.step()
    over_s = life.clock.now()
    allowed_s = life.breaker.retry_after_s
    ignored = life.breaker.snapshot()["ignored"]
    limit_s = over_s + 86_400.0
    while not life.is_closed() and life.clock.now() < limit_s:
        life.step()
    left = life.breaker.snapshot()["ignored"] - ignored
    rounds = life.rules.trials + left
    allowed_s += rounds * (life.longest_call_s + 2 * life.gap_s)
    return Recovery(seed, life.clock.now() - over_s, allowed_s)


@dataclass
class Day:
    """What a simulated day came to."""

    calls: int = 0
    opened: int = 0
    longest_half_open_s: float = 0.0
    longest_allowed_s: float = 0.0
    unbalanced: int = 0

    @property
    def wedged(self) -> bool:
        """Whether half-open ever lasted longer than its trials, one after the other, may."""
        return self.longest_half_open_s > self.longest_allowed_s


def day(seed: int, hours: float) -> Day:
    """Let an agent be ill and well in turns for `hours` and look at every step."""
    life, found = Life(seed, gap_s=1.0), Day()
    changes_s = half_open_since_s = 0.0
    generation = -1
    found.longest_allowed_s = life.rules.trials * (life.rules.trial_s + 2 * life.gap_s)
    leavers = 0
    while life.clock.now() < hours * 3600.0:
        if life.clock.now() >= changes_s:
            life.is_ill = not life.is_ill
            changes_s = life.clock.now() + life.dice.expovariate(1 / 900.0)
        life.step()
        seen = life.breaker.snapshot()
        accounted = seen["successes"] + seen["failures_total"] + seen["ignored"]
        found.unbalanced += seen["admitted"] != accounted + seen["in_flight"]
        if seen["state"] != BreakerState.HALF_OPEN or seen["generation"] != generation:
            generation, half_open_since_s = seen["generation"], life.clock.now()
            leavers = seen["ignored"]
        # A caller who leaves during a trial hands it to the next one: that much later.
        given_back = (seen["ignored"] - leavers) * (life.longest_call_s + 2 * life.gap_s)
        lasted_s = life.clock.now() - half_open_since_s - given_back
        found.longest_half_open_s = max(found.longest_half_open_s, lasted_s)
        found.calls, found.opened = seen["admitted"], seen["opened"]
    return found

"""`scheduler`: what a decision costs, with nothing around the scheduler.

A decision is one event it is told of (a request, an answer that ended, a caller that left, a
model that came or went) with everything that follows from it.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING

from benchmarks.figures import Compared, Figure, Goal
from benchmarks.subject import say
from orion.clock import ManualClock
from orion.scheduling import CacheLimits, QueueLimits, Scheduler, Waiter

if TYPE_CHECKING:
    from benchmarks.subject import Subject
    from orion.errors import OrionError

MODELS = 50
PLACES = 10
SLOTS = 4
CLIENTS = 100
SIZES = (10, 100, 1_000, 10_000)
JUDGED_SIZE = 1_000
DECISIONS = 20_000
STEP_S = 0.001
LIMIT_S = 3600.0
LEAVES_EVERY = 10
SPEED_GOAL = Goal(bound=100_000.0, at_least=True)
FLAT_GOAL = Goal(bound=1.5)
_CHOICES = 65_537
_SCENARIO = "scheduler"


class Hall:
    """A machine that does at once what the scheduler asks for, and callers that keep coming.

    Args:
        waiting: How many requests wait, throughout.
        seed: Of who asks for what.
    """

    def __init__(self, *, waiting: int, seed: int) -> None:
        random = Random(seed)  # noqa: S311 - to be repeated, not to be a secret
        # Chosen beforehand: the choice is no part of a decision.
        names = [(f"model-{number}", f"client-{number}") for number in range(CLIENTS)]
        self._comers = cycle(
            [(random.choice(names[:MODELS])[0], random.choice(names)[1]) for _ in range(_CHOICES)]
        )
        self._picks = cycle([random.random() for _ in range(_CHOICES)])
        self._clock = ManualClock()
        self._running: list[tuple[str, str]] = []
        self._clients: dict[str, str] = {}
        self._asked: deque[tuple[str, str]] = deque()
        self._num_asked = 0
        self.decisions = 0
        self.refused: list[OrionError] = []
        self.scheduler = Scheduler(
            effects=self,
            limits=QueueLimits(queue_max=2 * waiting + MODELS, queue_tokens=1 << 40),
            cache_limits=CacheLimits(places=PLACES, default_slots=SLOTS),
            clock=self._clock,
        )
        self._target = waiting
        self.fill()

    def fill(self) -> None:
        """Let callers come until as many wait as should."""
        while self.scheduler.num_waiting < self._target:
            self._come()

    def run(self, decisions: int) -> float:
        """Seconds that so many decisions take, the callers' part included."""
        until = self.decisions + decisions
        begun_s = time.perf_counter()
        while self.decisions < until:
            self._clock.advance(STEP_S)
            self._end_one()
            if self.decisions % LEAVES_EVERY == 0:
                self._leave()
            self.fill()
        return time.perf_counter() - begun_s

    def _come(self) -> None:
        self._num_asked += 1
        model, client = next(self._comers)
        waiter = Waiter(
            request_id=str(self._num_asked),
            model=model,
            client=client,
            tokens=100,
            deadline_s=self._clock.now() + LIMIT_S,
        )
        self._clients[waiter.request_id] = waiter.client
        self.scheduler.on_request(waiter)
        self._settle()

    def _end_one(self) -> None:
        place = int(next(self._picks) * len(self._running))
        self._running[place], self._running[-1] = self._running[-1], self._running[place]
        request_id, model = self._running.pop()
        self.scheduler.on_release(model, self._clients.pop(request_id), seconds=1.0)
        self._settle()

    def _leave(self) -> None:
        """One of the latest to come changes its mind, if it still waits."""
        request_id = str(self._num_asked - int(next(self._picks) * self._target))
        if self.scheduler.on_leave(request_id):
            del self._clients[request_id]
        self._settle()

    def _settle(self) -> None:
        self.decisions += 1
        while self._asked:
            what, model = self._asked.popleft()
            if what == "load":
                self.scheduler.on_loaded(model, SLOTS)
            else:
                self.scheduler.on_gone(model)
            self.decisions += 1

    # What the scheduler causes.

    def grant(self, request_id: str, model: str) -> None:
        """It runs."""
        self._running.append((request_id, model))

    def may_grant(self, request_id: str, model: str) -> bool:  # noqa: ARG002 - of the protocol
        """Always."""
        return True

    def refuse(self, request_id: str, error: OrionError) -> None:
        """Not expected."""
        self.refused.append(error)
        del self._clients[request_id]

    def start_load(self, model: str, *, speculative: bool) -> None:  # noqa: ARG002 - so too
        """It is there with the next event."""
        self._asked.append(("load", model))

    def start_unload(self, model: str) -> None:
        """It is gone with the next event."""
        self._asked.append(("unload", model))

    def abort_load(self, model: str) -> None:
        """So too."""
        self._asked.append(("unload", model))

    def need_bytes(self, model: str) -> int:  # noqa: ARG002 - places are the limit here
        """Not known."""
        return 0

    def free_bytes(self) -> int | None:
        """Not known."""
        return None

    def total_bytes(self) -> int | None:
        """Not known."""
        return None


def scheduler(_subject: Subject, runs: int) -> list[Figure]:
    """Decisions per second with 1,000 waiting, and the cost of one from 10 to 10,000."""
    halls = {size: Hall(waiting=size, seed=size) for size in SIZES}
    for hall in halls.values():
        hall.run(DECISIONS)
    costs: dict[int, list[float]] = {size: [] for size in SIZES}
    for index in range(runs):
        for size, hall in halls.items():
            costs[size].append(hall.run(DECISIONS) / DECISIONS * 1e6)
        say(f"{index + 1} of {runs}")
    rounds = list(zip(*costs.values(), strict=True))
    refused = sum(len(hall.refused) for hall in halls.values())
    note = f"{MODELS} models, {PLACES} places of {SLOTS} slots, {CLIENTS} clients, deadlines"
    return [
        Figure(
            scenario=_SCENARIO,
            name=f"decisions/s, {JUDGED_SIZE:,} waiting",
            unit="1/s",
            measured=tuple(1e6 / cost for cost in costs[JUDGED_SIZE]),
            goal=SPEED_GOAL,
            note=note + (f"; {refused} were refused" if refused else ""),
        ),
        Figure(
            scenario=_SCENARIO,
            name=f"a decision, dearest ÷ cheapest from {SIZES[0]} to {SIZES[-1]:,} waiting",
            unit="µs",
            measured=tuple(max(costs_of) for costs_of in rounds),
            baseline=tuple(min(costs_of) for costs_of in rounds),
            baseline_name="cheapest",
            compared=Compared.RATIO,
            goal=FLAT_GOAL,
        ),
        *(
            Figure(
                scenario=_SCENARIO,
                name=f"a decision, {size:,} waiting",
                unit="µs",
                measured=tuple(costs[size]),
            )
            for size in SIZES
        ),
    ]

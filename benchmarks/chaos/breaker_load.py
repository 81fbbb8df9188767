"""Loads put on a breaker, and on pybreaker's own `call` beside it."""

from __future__ import annotations

import contextlib
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pybreaker

from orion.breakers import Breaker, BreakerConfig
from orion.clock import ManualClock
from orion.errors import CircuitOpenError, OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BOOM = OutOfMemoryError(reason="injected")
_NEVER = 10**9


@dataclass
class Storm:
    """What many threads on one breaker came to.

    Attributes:
        generations: Of every call that ran, the breaker's generation.
        most_at_once: Calls that ran at the same time.
        reported: Outcomes the threads gave.
        snapshot: The breaker at the end.
        seconds: How long it took.
    """

    generations: list[int] = field(default_factory=list)
    most_at_once: int = 0
    reported: int = 0
    snapshot: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        """Outcomes given and not counted, or counted and not given."""
        seen = self.snapshot
        counted: int = seen["successes"] + seen["failures_total"] + seen["ignored"]
        return sum(map(abs, (self.reported - counted, seen["admitted"] - counted)))


def storm(*, threads: int, cycles: int, seed: int) -> Storm:
    """`threads` threads ask without pause while a breaker goes through `cycles` breaks.

    Every trial fails, and whoever ran it ends the next break by moving the clock. Each thread
    also holds a permit from before the first break and reports it somewhere in between.
    """
    clock, done, counting = ManualClock(), threading.Event(), threading.Lock()
    dice = Random(seed)  # noqa: S311 - a simulation
    rules = BreakerConfig(
        failures=1, break_s=30.0, growth=1.0, jitter=0.1, trial_s=1e9, minimum_calls=_NEVER
    )
    breaker = Breaker("generate:storm", rules, clock=clock, random=dice)
    result, running = Storm(), set[int]()
    early = [(breaker.acquire(), dice.randrange(50)) for _ in range(threads)]
    breaker.acquire().failure(_BOOM)
    result.reported = 1 + threads

    def live(number: int) -> None:
        permit, refusals_left = early[number]
        while not done.is_set():
            try:
                trial = breaker.acquire()
            except CircuitOpenError:
                refusals_left -= 1
                if refusals_left == 0:
                    permit.success()
                continue
            with counting:
                running.add(number)
                result.most_at_once = max(result.most_at_once, len(running))
                result.generations.append(trial.generation)
                result.reported += 1
            time.sleep(0)  # the others ask while it runs
            running.discard(number)
            trial.failure(_BOOM)
            if len(result.generations) >= cycles:
                done.set()
            else:
                clock.advance(breaker.retry_after_s)
        permit.release()

    clock.advance(breaker.retry_after_s)
    began_s = time.perf_counter()
    with _restless():
        _together([partial(live, number) for number in range(threads)])
    result.seconds = time.perf_counter() - began_s
    result.snapshot = breaker.snapshot()
    return result


def refusal_latencies(*, trial_s: float, threads: int = 4) -> list[float]:
    """Seconds each refusal took while a trial of `trial_s` ran; ours."""
    breaker = Breaker("generate:slow", _open_now())
    breaker.acquire().failure(_BOOM)

    def refused() -> None:
        with contextlib.suppress(CircuitOpenError):
            breaker.acquire().release()

    permit = breaker.acquire()
    return _while_it_runs(lambda: time.sleep(trial_s), refused, permit.success, threads)


def pybreaker_latencies(*, trial_s: float, threads: int = 4) -> list[float]:
    """The same through pybreaker's `call`."""
    breaker = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=0)
    with contextlib.suppress(pybreaker.CircuitBreakerError):
        breaker.call(_raise)
    running = threading.Event()

    def refused() -> None:
        running.wait()
        with contextlib.suppress(pybreaker.CircuitBreakerError):
            breaker.call(time.sleep, 0)

    def work() -> None:
        running.set()
        time.sleep(trial_s)

    return _while_it_runs(lambda: breaker.call(work), refused, lambda: None, threads)


def wall_s(*, calls: int, each_s: float) -> dict[str, float]:
    """Seconds that `calls` calls at once take: bare, with a permit each, through pybreaker."""
    breaker = Breaker("generate:wide", BreakerConfig())
    theirs = pybreaker.CircuitBreaker()

    def with_permit() -> None:
        with breaker.acquire():
            time.sleep(each_s)

    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: time.sleep(each_s),
        "permit": with_permit,
        "pybreaker": lambda: theirs.call(time.sleep, each_s),
    }
    found = {}
    for name, way in ways.items():
        began_s = time.perf_counter()
        _together([way] * calls)
        found[name] = time.perf_counter() - began_s
    return found


def overhead_us(*, calls: int, rounds: int = 7) -> dict[str, float]:
    """Microseconds of processor time a call costs beside its work: the median round.

    With a permit and through pybreaker's `call`. Processor time, so that what else the machine
    does is not counted; `permit_wall` is the same by the clock on the wall.
    """
    breaker = Breaker("generate:quick", BreakerConfig())
    theirs = pybreaker.CircuitBreaker()

    def with_permit() -> None:
        breaker.acquire().success(ttft_s=0.1, gap_s=0.1)

    ways: dict[str, Callable[[], object]] = {
        "permit": with_permit,
        "pybreaker": lambda: theirs.call(int),
    }
    found: dict[str, list[float]] = {name: [] for name in (*ways, "permit_wall")}
    for _ in range(rounds):
        for name, way in ways.items():
            began_s, wall_began_s = time.thread_time(), time.perf_counter()
            for _ in range(calls):
                way()
            found[name].append((time.thread_time() - began_s) / calls * 1e6)
            if name == "permit":
                wall_us = (time.perf_counter() - wall_began_s) / calls * 1e6
                found["permit_wall"].append(wall_us)
    return {name: statistics.median(times) for name, times in found.items()}


def percentile(values: list[float], ratio: float) -> float:
    """The smallest value that at least `ratio` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(ratio * 1000) * len(ordered) // 1000) - 1)]


def _open_now() -> BreakerConfig:
    return BreakerConfig(failures=1, break_s=0.0, minimum_calls=_NEVER)


def _while_it_runs(
    trial: Callable[[], object],
    refused: Callable[[], object],
    after: Callable[[], object],
    threads: int,
) -> list[float]:
    """Seconds each `refused()` took that began while `trial()` ran."""
    over, taken = threading.Event(), list[float]()

    def ask() -> None:
        while not over.is_set():
            began_s = time.perf_counter()
            refused()
            taken.append(time.perf_counter() - began_s)
            time.sleep(0.001)

    def run() -> None:
        trial()
        over.set()
        after()

    _together([run, *[ask] * threads])
    return taken


def _together(tasks: list[Callable[[], object]]) -> None:
    """Run every task in a thread of its own, begun at once, and wait for all."""
    start = threading.Barrier(len(tasks))

    def begin(task: Callable[[], object]) -> None:
        start.wait()
        task()

    threads = [threading.Thread(target=begin, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _restless() -> Iterator[None]:
    """Threads take turns every few microseconds, so that every seam between two lines is hit."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def _raise() -> None:
    raise _BOOM

"""Cases 44 to 46: many threads at once."""

from __future__ import annotations

import threading

import pytest

from benchmarks.chaos.breaker_load import storm
from orion.breakers import Breaker, BreakerConfig, BreakerState
from orion.errors import CircuitOpenError
from tests.conformance.breaker_support import BOOM, balance

PATIENCE_S = 60.0


def together(count: int, task) -> list[threading.Thread]:
    """Start `task` in `count` threads."""
    threads = [threading.Thread(target=task) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.process
class TestThreads:
    def test_case_44_one_call_runs_per_break_and_no_outcome_is_lost(self):
        """Thirty-two threads that ask all the time, through a hundred breaks."""
        found = storm(threads=32, cycles=100, seed=44)

        assert (len(found.generations), len(set(found.generations))) == (100, 100)
        assert (found.most_at_once, found.lost) == (1, 0)
        assert found.snapshot["refused"] > 100

    def test_case_45_calls_run_side_by_side(self):
        """Eight calls are inside at the same time: none would leave before the last came."""
        breaker, inside = Breaker("generate:a", BreakerConfig()), threading.Barrier(8)
        met = []

        def work() -> None:
            with breaker.acquire():
                inside.wait(PATIENCE_S)
                met.append(True)

        for thread in together(8, work):
            thread.join(PATIENCE_S)

        assert (len(met), breaker.snapshot()["successes"]) == (8, 8)

    def test_case_46_a_refusal_does_not_wait_for_the_trial(self):
        """A thousand are refused while it runs; it ends after the last of them."""
        breaker = Breaker("generate:a", BreakerConfig(failures=1, break_s=0.0))
        breaker.acquire().failure(BOOM)
        began, go_on, refused = threading.Event(), threading.Event(), []

        def trial() -> None:
            with breaker.acquire():
                began.set()
                go_on.wait(PATIENCE_S)

        def ask() -> None:
            for _ in range(125):
                try:
                    breaker.acquire()
                except CircuitOpenError as error:
                    refused.append(error)

        (running,) = together(1, trial)
        assert began.wait(PATIENCE_S)
        for thread in together(8, ask):
            thread.join(PATIENCE_S)
        alive = running.is_alive()
        go_on.set()
        running.join(PATIENCE_S)

        assert (len(refused), alive, breaker.state) == (1000, True, BreakerState.CLOSED)
        assert balance(breaker.snapshot()) == 0

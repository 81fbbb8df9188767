"""Cases 14 to 21: open."""

from __future__ import annotations

import gc
import math
import time
import traceback

import pytest

from orion.breakers import BreakerState
from orion.errors import CircuitOpenError
from tests.conformance.breaker_support import BOOM, balance

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class TestOpen:
    def test_case_14_nothing_runs_and_each_refusal_counts_down(self, bench):
        """Refusals are counted and say how long to wait: less each time, never below nothing."""
        one = bench(break_s=30.0)
        one.trip()
        ran, waits = [], []

        for _ in range(5):
            with pytest.raises(CircuitOpenError) as refusal, one.breaker.acquire():
                ran.append("ran")
            waits.append(refusal.value.retry_after_s)
            one.clock.advance(7.0)

        assert (ran, waits) == ([], [30.0, 23.0, 16.0, 9.0, 2.0])
        assert one.see("refused") == 5
        assert one.breaker.retry_after_s == 0.0

    def test_case_14_a_refusal_names_agent_and_cause(self, bench):
        """So that a page can say who is paused and why."""
        one = bench()
        one.trip()

        error = one.refused()

        assert (error.code, error.agent) == ("circuit_open", "code-agent")
        assert (error.cause, error.status) == ("out_of_memory", 503)

    def test_case_15_refusals_do_not_pile_up(self, bench):
        """A hundred refusals keep nothing, and the last traceback is as short as the first."""
        one = bench()
        one.trip()

        def depth() -> int:
            error = one.refused()
            return len(traceback.extract_tb(error.__traceback__))

        first = depth()
        gc.collect()
        before = len(gc.get_objects())
        depths = {depth() for _ in range(100)}
        gc.collect()

        assert depths == {first}
        assert len(gc.get_objects()) - before < 50
        assert one.see("in_flight") == 0

    def test_case_16_a_late_success_only_counts(self, bench):
        """What began before the trip and ends well while open changes nothing but totals."""
        one = bench(break_s=30.0)
        late = one.breaker.acquire()
        one.trip()
        before = one.breaker.snapshot()

        late.success(ttft_s=999.0)

        after = one.breaker.snapshot()
        assert {key for key in after if after[key] != before[key]} == {"successes", "in_flight"}
        assert one.kinds() == ["opened"]

    def test_case_17_a_late_failure_neither_tells_nor_extends(self, bench):
        """What began before the trip and fails while open changes nothing but totals."""
        one = bench(break_s=30.0)
        late = [one.breaker.acquire() for _ in range(5)]
        one.trip()
        one.clock.advance(10.0)
        before = one.breaker.snapshot()

        for permit in late:
            permit.failure(BOOM)

        after = one.breaker.snapshot()
        assert {key for key in after if after[key] != before[key]} == {
            "failures_total", "in_flight",
        }  # fmt: skip
        assert (one.breaker.retry_after_s, one.kinds()) == (20.0, ["opened"])

    def test_case_18_a_break_of_nothing_tries_at_once(self, bench):
        """And goes on doing so, however often the trial fails."""
        one = bench(failures=1, break_s=0.0, break_max_s=300.0)
        one.fail()

        for _ in range(3):
            assert (one.state, one.breaker.would_refuse()) == (OPEN, None)
            one.fail()
        one.succeed()

        assert (one.state, one.see("opened")) == (CLOSED, 4)

    def test_case_18_a_break_for_ever_ends_by_a_reset_only(self, bench):
        """No time is enough, no number overflows, and what is told stays a number."""
        one = bench(break_s=math.inf, break_max_s=math.inf, jitter=0.1)
        one.trip()
        one.clock.advance(1e12)

        assert one.refused().retry_after_s == 3600.0
        assert (one.breaker.retry_after_s, one.see("retry_after_s")) == (math.inf, None)
        one.breaker.reset()
        one.succeed()

        assert one.state is CLOSED

    def test_case_18_growth_does_not_overflow(self, bench):
        """Thousands of failed trials later the break is the longest allowed, not infinite."""
        one = bench(failures=1, break_s=1.0, break_max_s=300.0, growth=2.0)
        one.fail()

        for _ in range(1100):
            one.end_break()
            one.fail()

        assert one.breaker.retry_after_s == 300.0

    def test_case_19_the_break_can_be_computed(self, bench):
        """From the rate of failures, their number and the failed trials before; capped."""
        asked = []

        def length(rate: float, failures: int, reopened: int) -> float:
            asked.append((rate, failures, reopened))
            return 100.0 + 150.0 * reopened

        one = bench(failures=2, break_length=length, break_max_s=300.0, jitter=0.5)
        one.succeed(2)
        one.fail(2)
        lengths = [one.breaker.retry_after_s]
        for _ in range(2):
            one.end_break()
            one.fail()
            lengths.append(one.breaker.retry_after_s)

        assert lengths == [100.0, 250.0, 300.0]
        assert asked == [(0.5, 2, 0), (1.0, 1, 1), (1.0, 1, 2)]

    @pytest.mark.parametrize("given", [0.0, 0.5])
    def test_case_19_a_computed_break_may_be_short(self, bench, given):
        """Or none at all."""
        one = bench(break_length=lambda *_: given)

        one.trip()

        assert one.breaker.retry_after_s == given

    @pytest.mark.parametrize("given", [math.nan, -1.0, "soon", None])
    def test_case_19_a_useless_length_is_passed_over(self, bench, given):
        """Whatever the function gives or raises, the outcome is not lost."""
        one = bench(break_s=30.0, break_length=lambda *_: given)

        one.trip()

        assert one.breaker.retry_after_s == 30.0

    def test_case_20_looking_uses_nothing_up(self, bench):
        """After the break every way of looking leaves the trial to the next caller."""
        one = bench()
        one.trip()
        one.end_break()

        for _ in range(3):
            assert (one.state, one.breaker.retry_after_s) == (OPEN, 0.0)
            assert one.breaker.would_refuse() is None
            assert not one.see("trial_in_flight")
            one.breaker.tick()

        assert one.breaker.acquire().is_trial
        assert one.state is HALF_OPEN

    def test_case_20_asking_ahead_counts_no_refusal(self, bench):
        """`would_refuse` says what `acquire` would raise, and nobody was refused."""
        one = bench(break_s=30.0)
        one.trip()

        error = one.breaker.would_refuse()

        assert one.see("refused") == 0
        assert error is not None
        assert error.facts == one.refused().facts

    @pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
    def test_case_21_the_wall_clock_means_nothing(self, bench, monkeypatch, jump_s):
        """A day forward or back changes no state, no window and no break."""
        one = bench(break_s=30.0)
        one.fail(2)
        wall = time.time
        monkeypatch.setattr(time, "time", lambda: wall() + jump_s)

        one.fail()
        assert (one.state, one.breaker.retry_after_s) == (OPEN, 30.0)
        one.clock.advance(29.999)
        one.refused()
        one.clock.advance(0.001)
        one.succeed()

        assert one.state is CLOSED
        assert balance(one.breaker.snapshot()) == 0

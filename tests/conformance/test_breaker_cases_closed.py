"""Cases 1 to 13: closed, and what opens it."""

from __future__ import annotations

import math

import pytest

from orion.breakers import BreakerState
from orion.errors import (
    CancelledError,
    EmptyAnswerError,
    GenerationError,
    OutOfMemoryError,
    OverloadedError,
    WorkerDiedError,
    WorkerHungError,
)
from tests.conformance.breaker_support import BOOM, NEVER, by_rate

CLOSED, OPEN = BreakerState.CLOSED, BreakerState.OPEN


class TestClosed:
    def test_case_01_it_starts_closed_zeroed_and_silent(self, bench):
        """A new breaker is closed, has counted nothing and has told nobody anything."""
        one = bench()

        counted = ("failures", "calls", "admitted", "opened", "refused", "in_flight", "generation")
        assert one.state is CLOSED
        assert [one.see(key) for key in counted] == [0] * len(counted)
        assert one.see("last_error") is None
        assert one.heard() == []

    def test_case_02_below_the_minimum_of_calls_the_rate_is_unknown(self, bench):
        """Nine failures of nine calls say nothing where ten calls are asked for."""
        one = bench(**by_rate())

        one.fail(9)

        assert (one.state, one.see("failure_rate")) == (CLOSED, None)
        one.fail()
        assert (one.state, one.see("failure_rate")) == (OPEN, 1.0)
        assert one.heard()[0].reason == "failure_rate"

    @pytest.mark.parametrize(("successes", "state"), [(5, OPEN), (6, CLOSED)])
    def test_case_03_the_threshold_itself_opens(self, bench, successes, state):
        """Exactly half opens at a threshold of one half; just below does not."""
        one = bench(**by_rate())
        one.succeed(successes)

        one.fail(5)

        assert one.state is state

    def test_case_03_the_last_of_a_run_opens(self, bench):
        """The third failure in a row opens where three are asked for, the second does not."""
        one = bench(failures=3)

        one.fail(2)
        assert one.state is CLOSED
        one.fail()

        assert one.state is OPEN

    def test_case_04_no_success_opens_it(self, bench):
        """The rate is reached by a success that completes the minimum; the next failure opens."""
        one = bench(**by_rate())
        one.fail(9)

        one.succeed()
        assert (one.state, one.see("failure_rate")) == (CLOSED, 0.9)
        one.fail()

        assert one.state is OPEN

    @pytest.mark.parametrize(("age_s", "state"), [(59.999, OPEN), (60.0, CLOSED)])
    def test_case_05_an_outcome_leaves_the_window_at_its_exact_edge(self, bench, age_s, state):
        """A failure counts until it is as old as the window, and not at that moment."""
        one = bench(**by_rate(window_s=60.0, minimum_calls=2, failure_rate=1.0))
        one.fail()

        one.clock.advance(age_s)
        one.fail()

        assert one.state is state

    def test_case_06_failures_across_the_window_add_up(self, bench):
        """It does not matter in which part of the window they fell."""
        one = bench(**by_rate(window_s=60.0, minimum_calls=4, failure_rate=1.0))

        for _ in range(4):
            assert one.state is CLOSED
            one.fail()
            one.clock.advance(15.0)

        assert one.state is OPEN

    @pytest.mark.parametrize(("apart_s", "state"), [(20.0, OPEN), (60.0, CLOSED)])
    def test_case_07_the_window_slides(self, bench, apart_s, state):
        """Failures around what would be the seam of two windows add up within one span only."""
        one = bench(**by_rate(window_s=60.0, minimum_calls=4, failure_rate=1.0))
        one.clock.advance(50.0)
        one.fail(2)

        one.clock.advance(apart_s)
        one.fail(2)

        assert one.state is state

    def test_case_08_a_success_ends_the_run(self, bench):
        """Two failures, a success and two failures are no three in a row."""
        one = bench(failures=3)

        one.fail(2)
        one.succeed()
        one.fail(2)

        assert (one.state, one.see("consecutive")) == (CLOSED, 2)

    @pytest.mark.parametrize(
        ("record", "ignore", "error", "counts"),
        [
            ((GenerationError,), (), BOOM, True),
            ((WorkerDiedError,), (), WorkerHungError(model="m", silent_s=3), True),
            ((WorkerDiedError,), (), BOOM, False),
            ((lambda error: "memory" in str(error),), (), BOOM, True),
            ((lambda error: "fire" in str(error),), (), BOOM, False),
            ((GenerationError,), (OutOfMemoryError,), BOOM, False),
            ((GenerationError,), (OutOfMemoryError,), EmptyAnswerError(model="m"), True),
            ((OutOfMemoryError,), (GenerationError,), BOOM, False),
            ((Exception,), (lambda error: error is BOOM,), BOOM, False),
        ],
    )
    def test_case_09_only_recorded_errors_count(self, bench, record, ignore, error, counts):
        """By class, subclass or question; what is both recorded and ignored is ignored."""
        one = bench(failures=1, record=record, ignore=ignore)

        one.breaker.acquire().failure(error)

        assert one.state is (OPEN if counts else CLOSED)
        assert (one.see("failures_total"), one.see("ignored")) == (int(counts), int(not counts))

    @pytest.mark.parametrize(
        ("error", "counts"),
        [
            (ValueError("from some library"), True),
            (CancelledError(), False),
            (OverloadedError(queue_max=1), False),
            (KeyboardInterrupt(), False),
            (GeneratorExit(), False),
        ],
    )
    def test_case_09_by_default_nobodys_fault_is_ignored(self, bench, error, counts):
        """Leaving, refusing and interrupting say nothing about an agent."""
        one = bench(failures=1)

        one.breaker.acquire().failure(error)

        assert one.state is (OPEN if counts else CLOSED)

    def test_case_10_a_result_can_be_a_failure(self, bench):
        """An answer that is nothing, or not a number, counts like an error."""
        one = bench(failures=2, bad_result=lambda logit: not logit or math.isnan(logit))

        one.breaker.acquire().success(result=0.5)
        one.breaker.acquire().success(result=math.nan)
        assert (one.see("successes"), one.see("failures_total")) == (1, 1)
        one.breaker.acquire().success(result=None)

        assert one.state is OPEN
        assert one.refused().cause == "bad_result"

    @pytest.mark.parametrize("times_s", [{"ttft_s": 45.1}, {"gap_s": 10.1}])
    def test_case_11_slow_successes_alone_open_it(self, bench, times_s):
        """A late first text or a long gap, often enough, opens without any failure."""
        one = bench(**by_rate(slow_rate=0.5, slow_ttft_s=45.0, slow_gap_s=10.0))
        one.succeed(5, ttft_s=45.0, gap_s=10.0)

        one.succeed(4, **times_s)
        assert one.state is CLOSED
        one.succeed(**times_s)

        assert (one.state, one.see("slow_rate"), one.see("failures")) == (OPEN, 0.5, 0)
        assert one.refused().cause == "slow"

    def test_case_11_a_slow_failure_counts_once_in_each_rate(self, bench):
        """One call that was slow and failed is one failure and one slow call."""
        one = bench(**by_rate(minimum_calls=4))

        one.succeed(3)
        one.fail(ttft_s=50.0, gap_s=50.0)

        seen = [one.see(key) for key in ("calls", "failures", "failure_rate", "slow_rate")]
        assert seen == [4, 1, 0.25, 0.25]

    def test_case_11_a_slow_failure_can_open_by_slowness(self, bench):
        """Where the share of failures alone would not."""
        one = bench(**by_rate(failure_rate=1.0, slow_rate=0.5, minimum_calls=2))
        one.succeed()

        one.fail(ttft_s=50.0)

        assert (one.state, one.heard()[0].reason) == (OPEN, "slow_rate")

    def test_case_12_the_call_that_opens_it_gets_its_own_error(self, bench):
        """Its caller hears what happened, not that the breaker is open."""
        one = bench(failures=1)

        with pytest.raises(OutOfMemoryError), one.breaker.acquire():
            raise BOOM

        assert one.state is OPEN

    def test_case_13_opening_is_told_once(self, bench):
        """With the rule, the last error and the length of the break."""
        one = bench(failures=3, break_s=30.0)
        early = one.breaker.acquire()
        one.fail(3)

        early.failure(BOOM)
        one.refused()

        (event,) = one.heard()
        assert (event.kind, event.old, event.new) == ("opened", CLOSED, OPEN)
        assert (event.reason, event.break_s, event.at_s) == ("consecutive", 30.0, 1000.0)
        assert event.error == ("out_of_memory", str(BOOM))
        assert (event.name, event.generation) == ("generate:code-agent", 1)


class TestVotes:
    def test_one_request_votes_once_within_the_window(self, bench):
        """A prompt that breaks everything it meets is counted, and opens nothing for others."""
        one = bench(failures=2, window_s=60.0)

        one.fail(5, voter="poison")
        assert (one.state, one.see("failures_total"), one.see("failures")) == (CLOSED, 5, 1)
        one.clock.advance(60.0)
        one.fail(voter="poison")

        assert one.state is OPEN

    def test_requests_without_a_fingerprint_all_vote(self, bench):
        """And so do different ones."""
        one = bench(failures=4)

        one.fail()
        one.fail(voter="a")
        one.fail(voter="b")
        one.fail()

        assert one.state is OPEN

    def test_a_trial_is_decided_by_whoever_runs_it(self, bench):
        """A voter that has voted is heard again when it is the trial."""
        one = bench(failures=1, break_s=1.0, window_s=60.0, minimum_calls=NEVER)
        one.fail(voter="poison")
        one.end_break()

        one.fail(voter="poison")

        assert (one.state, one.see("opened")) == (OPEN, 2)

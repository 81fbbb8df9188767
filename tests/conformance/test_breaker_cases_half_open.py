"""Cases 22 to 32: half-open."""

from __future__ import annotations

import asyncio
import gc

import pytest

from orion.breakers import BreakerState
from orion.errors import CancelledError
from tests.conformance.breaker_support import BOOM

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


@pytest.fixture
def tried(bench):
    """A bench whose break has just ended: the next call is the trial."""

    def make(**rules):
        one = bench(**rules)
        one.trip()
        one.end_break()
        return one

    return make


class TestHalfOpen:
    def test_case_22_one_call_runs_and_all_others_are_refused(self, tried):
        """The first call after the break is the trial; nobody waits for it."""
        one = tried()

        trial = one.breaker.acquire()
        refusals = [one.refused() for _ in range(10)]

        assert (trial.is_trial, one.state) == (True, HALF_OPEN)
        assert {error.cause for error in refusals} == {"out_of_memory"}
        assert (one.see("trial_in_flight"), one.see("refused")) == (True, 10)

    def test_case_22_a_refusal_waits_no_longer_than_the_trial_may_take(self, tried):
        """The time to wait is what is left of the trial's."""
        one = tried(trial_s=90.0, trials=2)
        first = one.breaker.acquire()
        one.clock.advance(30.0)
        second = one.breaker.acquire()

        assert one.refused().retry_after_s == 60.0
        first.release()
        second.release()

    def test_case_23_as_many_trials_run_as_may(self, tried):
        """With three permits three run and the fourth is refused, also once some have ended."""
        one = tried(trials=3, failure_rate=1.0)

        permits = [one.breaker.acquire() for _ in range(3)]
        one.refused()
        permits[0].success()
        permits[1].failure(BOOM)
        one.refused()

        assert all(permit.is_trial for permit in permits)
        assert one.state is HALF_OPEN

    def test_case_24_a_good_trial_closes_and_forgets(self, tried):
        """The window, the run of failures and the growth of the break begin again."""
        one = tried(break_s=30.0)
        one.fail()
        one.end_break()

        one.succeed()

        assert one.state is CLOSED
        assert [one.see(key) for key in ("failures", "calls", "consecutive")] == [0, 0, 0]
        one.trip()
        assert one.breaker.retry_after_s == 30.0

    @pytest.mark.parametrize(("failures", "state"), [(1, CLOSED), (2, OPEN)])
    def test_case_24_several_trials_are_judged_by_their_rate(self, tried, failures, state):
        """One failure of three is below one half and closes; two are above."""
        one = tried(trials=3, failure_rate=0.5)
        permits = [one.breaker.acquire() for _ in range(3)]

        for permit in permits[:failures]:
            permit.failure(BOOM)
        for permit in permits[failures:]:
            permit.success()

        assert one.state is state

    @pytest.mark.parametrize(
        ("ends", "state"),
        [("f", OPEN), ("sf", OPEN), ("ss", CLOSED), ("S", OPEN), ("sS", OPEN)],
    )
    def test_case_24_the_rate_itself_opens(self, tried, ends, state):
        """One of two is one half, of failures as of slow successes."""
        one = tried(trials=2, failure_rate=0.5, slow_rate=0.5)

        for end in ends:
            one.fail() if end == "f" else one.succeed(ttft_s=99.0 if end == "S" else 0.1)

        assert one.state is state

    @pytest.mark.parametrize(
        ("ends", "state"), [("Sss", CLOSED), ("SS", OPEN), ("FS", OPEN), ("SF", OPEN)]
    )
    def test_case_26_several_slow_trials_add_up(self, tried, ends, state):
        """One of three is below one half, two are above; a slow failure is one of them."""
        one = tried(trials=3, failure_rate=1.0, slow_rate=0.5)

        for end in ends:
            one.fail(gap_s=99.0) if end == "F" else one.succeed(gap_s=99.0 if end == "S" else 0.1)

        assert one.state is state

    def test_case_25_a_failed_trial_opens_with_a_longer_break(self, tried):
        """Each time twice as long, up to the longest allowed."""
        one = tried(break_s=30.0, break_max_s=200.0, growth=2.0)
        lengths = []

        for _ in range(4):
            one.fail()
            lengths.append(one.breaker.retry_after_s)
            one.end_break()

        assert lengths == [60.0, 120.0, 200.0, 200.0]
        assert [e.reason for e in one.heard() if e.kind == "opened"][1:] == ["trial_failed"] * 4

    def test_case_25_breaks_vary_by_the_jitter(self, bench):
        """Up to a tenth to either side, and never beyond the longest allowed."""
        one = bench(failures=1, break_s=100.0, break_max_s=105.0, jitter=0.1, growth=1.0)
        lengths = []
        for _ in range(200):
            one.fail()
            lengths.append(one.breaker.retry_after_s)
            one.breaker.reset()

        assert 90.0 <= min(lengths) < 92.0
        assert 104.0 < max(lengths) == 105.0
        assert len(set(lengths)) > 100

    def test_case_26_a_slow_trial_opens_again(self, tried):
        """It ended well, but not in time to call the agent well."""
        one = tried(slow_ttft_s=45.0)

        one.succeed(ttft_s=45.1)

        assert (one.state, one.refused().cause) == (OPEN, "slow")
        assert one.heard()[-1].reason == "trial_slow"

    def test_case_27_an_ignored_error_gives_the_trial_back(self, tried):
        """The state stays and the next caller is the trial."""
        one = tried()

        one.breaker.acquire().failure(CancelledError())

        assert (one.state, one.see("ignored")) == (HALF_OPEN, 1)
        assert one.breaker.acquire().is_trial

    def test_case_28_a_cancelled_trial_neither_closes_nor_opens(self, tried):
        """Its permit is given back and the next caller is the trial."""
        one = tried()

        one.breaker.acquire().release()

        assert (one.state, one.breaker.would_refuse()) == (HALF_OPEN, None)
        one.succeed()
        assert one.state is CLOSED

    @pytest.mark.parametrize(("waited_s", "state"), [(89.999, HALF_OPEN), (90.0, OPEN)])
    def test_case_29_a_trial_that_never_returns_expires(self, tried, waited_s, state):
        """It has failed once its time is up, without anybody asking for a permit."""
        one = tried(trial_s=90.0)
        permit = one.breaker.acquire()

        one.clock.advance(waited_s)
        one.breaker.tick()

        assert one.state is state
        assert one.see("in_flight") == int(state is HALF_OPEN)
        permit.release()

    def test_case_29_a_result_after_the_time_is_up_is_ignored(self, tried):
        """One failure was counted, and stays the only outcome."""
        one = tried(trial_s=90.0, break_s=30.0)
        permit = one.breaker.acquire()

        one.clock.advance(90.0)
        permit.success()

        assert one.state is OPEN
        error = one.see("last_error")
        assert error["code"] == "deadline"
        assert error["message"] == "The answer took longer than 90.0 s (while trying again)."
        assert [one.see(key) for key in ("successes", "failures_total")] == [0, 4]

    def test_case_29_an_expired_trial_has_failed_and_was_not_slow(self, tried):
        """It counts once: as one failure of the three that it would take here."""
        one = tried(trials=3, failure_rate=1.0, slow_rate=0.3, trial_s=90.0)
        held = one.breaker.acquire()

        one.clock.advance(90.0)

        assert (one.state, one.see("failures_total")) == (HALF_OPEN, 4)
        held.release()

    def test_case_29_the_new_break_runs_from_the_moment_the_time_was_up(self, tried):
        """Where nobody looked for an hour, the next caller is the trial at once."""
        one = tried(trial_s=90.0, break_s=30.0, break_max_s=300.0)
        held = one.breaker.acquire()
        one.clock.advance(90.0 + 60.0 - 1.0)
        assert one.refused().retry_after_s == 1.0

        one.clock.advance(1.0)

        assert one.breaker.acquire().is_trial
        held.release()

    def test_case_30_a_call_from_before_decides_no_trial(self, bench):
        """It was let through while closed and lands in half-open: counted, not heard."""
        one = bench()
        early = [one.breaker.acquire() for _ in range(2)]
        one.trip()
        one.end_break()
        trial = one.breaker.acquire()

        early[0].success()
        assert one.state is HALF_OPEN
        early[1].failure(BOOM)

        assert one.state is HALF_OPEN
        trial.success()
        assert one.state is CLOSED

    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
    )
    def test_case_31_no_way_of_leaving_keeps_the_permit(self, tried, error):
        """What is no `Exception` goes on to the caller, and the next caller is the trial."""
        one = tried()

        with pytest.raises(error), one.breaker.acquire():
            raise error

        assert (one.state, one.see("in_flight"), one.see("ignored")) == (HALF_OPEN, 0, 1)
        assert one.breaker.acquire().is_trial

    def test_case_31_a_forgotten_permit_comes_back(self, tried):
        """A trial nobody holds any more is no trial."""
        one = tried()

        permit = one.breaker.acquire()
        one.refused()
        del permit
        gc.collect()

        assert one.breaker.acquire().is_trial

    def test_case_32_the_good_trial_lets_the_others_run(self, tried):
        """Those refused a moment ago are let through as soon as it has ended."""
        one = tried()
        trial = one.breaker.acquire()
        for _ in range(3):
            one.refused()

        trial.success()
        permits = [one.breaker.acquire() for _ in range(3)]

        assert (one.state, [permit.is_trial for permit in permits]) == (CLOSED, [False] * 3)

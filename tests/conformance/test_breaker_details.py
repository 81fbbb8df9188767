"""What the numbered cases leave open: defaults, hand-overs, who is told, the last resort."""

from __future__ import annotations

import threading
import time
from random import Random

import pytest

from orion.breakers import Breaker, BreakerMode, Breakers, BreakerState
from orion.breakers.window import MOST_CALLS
from orion.clock import ManualClock
from orion.errors import BreakerConfigError, CircuitOpenError
from tests.conformance.breaker_support import (
    BOOM,
    FLUSH_S,
    NEVER,
    Recorder,
    by_rate,
    config,
    make_breakers,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
JITTERY = config(failures=1, jitter=0.1, break_s=30.0)


class TestDefaults:
    @pytest.mark.parametrize("make", [Breaker, lambda *given: Breakers().get(*given)])
    def test_nothing_but_name_and_rules_is_needed(self, make):
        """The system's monotonic clock, chance, and silence."""
        breaker = make("plain", JITTERY)
        heard = []
        breaker.subscribe(heard.append)

        breaker.acquire().failure(BOOM)

        assert abs(breaker.now() - time.monotonic()) < 600.0
        assert 0.0 < breaker.retry_after_s <= 33.0
        assert breaker.flush(FLUSH_S)
        assert [event.kind for event in heard] == ["opened"]
        breaker.close()

    def test_breakers_left_alone_differ_in_their_breaks(self):
        """Two that open at the same time are not tried at the same time."""
        lengths = set()
        for number in range(5):
            breaker = Breaker(f"load:{number}", JITTERY, clock=ManualClock())
            breaker.acquire().failure(BOOM)
            lengths.add(breaker.retry_after_s)

        assert len(lengths) == 5

    def test_a_name_without_kind_is_its_own_target(self):
        """The refusal then names the breaker."""
        breaker = Breaker("plain", JITTERY)
        breaker.force_open()

        with pytest.raises(CircuitOpenError) as refused:
            breaker.acquire()
        assert refused.value.agent == "plain"
        assert [breaker.snapshot()[key] for key in ("kind", "target")] == ["plain", ""]

    def test_a_target_may_hold_a_colon(self, bench):
        """The kind ends at the first one."""
        breaker = Breaker("load:org:model", JITTERY)
        breaker.force_open()

        refusal = breaker.would_refuse()
        assert refusal is not None
        assert refusal.agent == "org:model"
        assert breaker.snapshot()["target"] == "org:model"


class TestRegistry:
    def test_clock_and_chance_are_handed_on(self):
        """A registry's breaker does what one made by hand with the same would do."""
        clock, log = ManualClock(), Recorder()
        breakers = Breakers(clock=clock, random=Random(3), log=log)
        ours = breakers.get("load:m", JITTERY)
        theirs = Breaker("load:m", JITTERY, clock=clock, random=Random(3))

        for breaker in (ours, theirs):
            breaker.acquire().failure(BOOM)
            clock.advance(0.123456)

        assert ours.retry_after_s == pytest.approx(theirs.retry_after_s - 0.123456, abs=1e-9)
        assert ours.now() == clock.now()
        assert breakers.flush(FLUSH_S)
        assert log.lines[0][2]["break_s"] == round(theirs.retry_after_s + 0.123456, 3)
        breakers.close()

    def test_switched_off_it_makes_breakers_that_stay_off(self):
        """Also after a reset."""
        breakers = make_breakers(enabled=False)
        breaker = breakers.get("load:m", config(failures=1))

        breaker.acquire().failure(BOOM)
        assert (breaker.mode, breaker.state) == ("disabled", CLOSED)
        breaker.force_open()
        assert breakers.reset() == ["load:m"]

        assert (breaker.mode, breaker.state, breaker.snapshot()["admitted"]) == (
            "disabled", CLOSED, 0,
        )  # fmt: skip

    def test_what_is_wrong_with_a_name_is_told_in_words(self):
        """Which name, and why."""
        breakers = make_breakers()
        breakers.get("load:m", config())

        with pytest.raises(BreakerConfigError) as missing:
            breakers.get("load:n")
        with pytest.raises(BreakerConfigError) as other:
            breakers.get("load:m", config(failures=9))

        assert str(missing.value) == "The breaker's `load:n` does not exist."
        assert str(other.value) == "The breaker's `load:m` exists with another configuration."

    def test_the_log_is_handed_on(self):
        """A breaker of the registry tells of a rule that misbehaves."""
        log = Recorder()
        breakers = make_breakers(log=log)
        breaker = breakers.get("load:m", config(bad_result=lambda result: result > 1))

        breaker.acquire().success(result="text")
        breakers.close()

        assert log.lines == [
            ("warning", "breaker.rule", {"breaker": "load:m", "problem": "raised TypeError"})
        ]

    def test_a_reset_can_be_of_one_of_all_or_of_none(self):
        """It says whom it reset, in order."""
        breakers = make_breakers()
        for name in ("load:b", "load:a"):
            breakers.get(name, config(failures=1)).acquire().failure(BOOM)

        assert breakers.reset("load:c") == []
        assert breakers.health()["down"] == ["load:a", "load:b"]
        assert breakers.reset("load:b") == ["load:b"]
        assert breakers.health()["down"] == ["load:a"]
        assert breakers.reset() == ["load:a", "load:b"]
        assert [seen["name"] for seen in breakers.snapshot()] == ["load:a", "load:b"]
        assert breakers.health()["down"] == []

    def test_a_listener_hears_of_breakers_made_before_it_came(self):
        """One that raises is logged once for all of them."""
        log, heard = Recorder(), []
        breakers = make_breakers(log=log)
        first = breakers.get("load:m", config(failures=1))

        def hear(event) -> None:
            heard.append(event.name)
            raise LookupError

        breakers.subscribe(hear)
        first.force_open()
        breakers.get("load:n", config(failures=1)).force_open()
        assert breakers.flush(FLUSH_S)

        assert heard == ["load:m", "load:n"]
        assert [line for line in log.lines if line[1] == "breaker.listener"] == [
            ("warning", "breaker.listener", {"problem": "raised LookupError"})
        ]
        assert [line[0] for line in log.lines if line[1] == "breaker.changed"] == ["warning"] * 2
        breakers.close()

    def test_reaching_a_threshold_is_a_warning(self):
        """Like opening; a way back is not."""
        log = Recorder()
        breakers = make_breakers(log=log)
        breaker = breakers.get("load:m", config(failures=1, break_s=0.0))
        breaker.metrics_only()
        breaker.acquire().failure(BOOM)
        breaker.reset()
        breaker.acquire().failure(BOOM)
        breaker.acquire().success()
        assert breakers.flush(FLUSH_S)

        assert [(level, facts["event_kind"]) for level, _, facts in log.lines] == [
            ("info", "metrics_only"), ("warning", "threshold"), ("info", "reset"),
            ("warning", "opened"), ("info", "half_opened"), ("info", "closed"),
        ]  # fmt: skip
        assert log.lines[1][2]["mode"] == "metrics_only"
        breakers.close()

    @pytest.mark.parametrize("make", [make_breakers, lambda: Breaker("load:m", JITTERY)])
    def test_a_listener_that_never_returns_holds_nobody(self, make):
        """Neither who waits for events, in time, nor who puts the breakers away."""
        told, go_on = make(), threading.Event()
        told.subscribe(lambda _: go_on.wait())
        breaker = told if isinstance(told, Breaker) else told.get("load:m", JITTERY)
        breaker.force_open()

        assert not told.flush(0.01)
        told.close(0.01)
        go_on.set()

    @pytest.mark.parametrize("make", [make_breakers, lambda: Breaker("load:m", JITTERY)])
    def test_what_was_told_before_closing_is_delivered(self, make):
        """And the thread of the listener ends."""
        before, heard, told = set(threading.enumerate()), [], make()
        told.subscribe(heard.append)
        (thread,) = set(threading.enumerate()) - before
        breaker = told if isinstance(told, Breaker) else told.get("load:m", JITTERY)
        breaker.force_open()

        told.close()

        assert ([event.kind for event in heard], thread.is_alive()) == (["forced_open"], False)
        assert (thread.daemon, thread.name) == (True, "breaker-events")


class TestNumbers:
    def test_state_and_run_of_failures_are_in_pybreakers_storage(self, bench):
        """Whoever knows pybreaker reads them there."""
        one = bench(failures=3)
        one.trip()

        circuit = one.breaker._circuit
        assert (circuit.current_state, circuit.fail_counter) == ("open", 3)
        assert (circuit.state.name, circuit.name) == ("open", "generate:code-agent")
        assert circuit.success_counter == 0

    def test_rates_and_waits_are_rounded(self, bench):
        """Four places for a rate, three for seconds."""
        one = bench(**by_rate(minimum_calls=3, failure_rate=1.0), break_s=29.8765432)
        one.succeed(2)
        one.fail(ttft_s=99.0)

        assert [one.see(key) for key in ("failure_rate", "slow_rate")] == [0.3333, 0.3333]
        one.breaker.reset()
        one.fail(3)
        assert one.see("retry_after_s") == 29.877

    def test_the_window_has_a_size(self, bench):
        """Beyond, the oldest outcomes are let go of, with what they counted for."""
        one = bench(failures=NEVER)
        one.succeed(2, gap_s=99.0)
        one.fail(voter="a")

        one.succeed(MOST_CALLS - 3)
        seen = [one.see(key) for key in ("calls", "failures")]
        assert seen == [MOST_CALLS, 1]
        slow = [one.breaker._machine.window.slow]
        for _ in range(3):
            one.succeed()
            slow.append(one.breaker._machine.window.slow)

        assert slow == [2, 1, 0, 0]
        assert [one.see(key) for key in ("calls", "failures")] == [MOST_CALLS, 0]
        one.fail(voter="a")
        assert one.see("failures") == 1

    def test_a_breaker_can_begin_by_watching_only(self):
        """And a reset leaves it so."""
        breaker, heard = Breaker("a", config(failures=1), mode=BreakerMode.METRICS_ONLY), []
        breaker.subscribe(heard.append)

        for _ in range(2):
            breaker.acquire().failure(BOOM)
            breaker.acquire().failure(BOOM)
            breaker.reset()
        assert breaker.flush(FLUSH_S)
        breaker.close()

        assert [event.kind for event in heard] == ["threshold", "reset", "threshold", "reset"]
        assert breaker.mode == "metrics_only"


class TestLastResort:
    def test_it_is_admitted_where_others_are_refused(self, bench):
        """Open, forced open, and beside the trial; then it only counts."""
        one = bench()
        one.trip()
        early = one.breaker.admit()
        one.end_break()
        trial = one.breaker.acquire()
        beside = one.breaker.admit()
        before = one.breaker.snapshot()

        early.failure(BOOM)
        beside.success()

        after = one.breaker.snapshot()
        assert [permit.is_trial for permit in (early, trial, beside)] == [False, True, False]
        assert [permit.generation for permit in (early, trial, beside)] == [-1, 2, -1]
        assert {key for key in after if after[key] != before[key]} == {
            "failures_total", "successes", "in_flight",
        }  # fmt: skip
        one.breaker.force_open()
        with one.breaker.admit():
            assert one.see("refused") == 0

    def test_after_the_break_it_is_the_trial(self, bench):
        """Otherwise an agent that is only ever a last resort would never come back."""
        one = bench()
        one.trip()
        one.end_break()

        with one.breaker.admit() as permit:
            assert permit.is_trial

        assert one.state is CLOSED

    def test_while_closed_it_is_a_call_like_any_other(self, bench):
        """Its failures count."""
        one = bench(failures=1)

        one.breaker.admit().failure(BOOM)

        assert one.state is OPEN

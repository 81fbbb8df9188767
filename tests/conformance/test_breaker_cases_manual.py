"""Cases 33 to 39: by hand, by name, by configuration."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import pytest

from orion.breakers import BreakerConfig, BreakerMode, BreakerState
from orion.errors import BreakerConfigError, IllegalTransitionError
from orion.settings import BreakerSettings
from tests.conformance.breaker_support import BOOM, by_rate, config, make_breakers

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class TestByHand:
    def test_case_33_forced_open_ends_by_a_reset_only(self, bench):
        """Neither time nor a success nor another mode ends it."""
        one = bench()
        early = one.breaker.acquire()
        one.breaker.force_open()

        early.success()
        one.clock.advance(1e9)
        one.breaker.force_open()

        assert (one.state, one.breaker.mode) == (OPEN, BreakerMode.FORCED_OPEN)
        refusal = one.refused()
        assert (refusal.code, refusal.cause) == ("agent_paused", "forced_open")
        assert refusal.retry_after_s == 3600.0
        one.breaker.reset()
        one.succeed()
        assert (one.state, one.breaker.mode) == (CLOSED, BreakerMode.NORMAL)
        assert one.kinds() == ["forced_open", "reset"]

    def test_case_34_disabled_lets_all_through_and_counts_nothing(self, bench):
        """No refusal, no event, no number."""
        one = bench(failures=1)
        one.breaker.disable()
        before = one.breaker.snapshot()

        one.fail(20)
        one.succeed(20, ttft_s=999.0)
        held = one.breaker.acquire()

        assert (held.is_trial, held.generation) == (False, 1)
        assert one.breaker.snapshot() == before
        assert one.kinds() == ["disabled"]

    def test_case_34_metrics_only_counts_and_tells_once(self, bench):
        """Everything runs; reaching the threshold is told once until a reset."""
        one = bench(failures=3)
        one.breaker.metrics_only()

        one.fail(20)

        assert (one.state, one.see("failures"), one.see("opened")) == (CLOSED, 20, 0)
        assert one.kinds() == ["metrics_only", "threshold"]
        told = one.heard()[-1]
        assert (told.old, told.new, told.reason) == (CLOSED, CLOSED, "consecutive")
        one.breaker.reset()
        one.breaker.metrics_only()
        one.fail(3)
        assert one.kinds()[2:] == ["reset", "metrics_only", "threshold"]

    @pytest.mark.parametrize("where", ["closed", "open", "half-open", "forced", "disabled"])
    def test_case_35_a_reset_zeroes_from_anywhere(self, bench, where):
        """Closed, by the rules, nothing held against it, one event; a transition only if one."""
        one = bench(failures=2, break_s=30.0)
        if where == "closed":
            one.fail()
        elif where == "forced":
            one.breaker.force_open()
        elif where == "disabled":
            one.breaker.disable()
        else:
            one.trip()
        if where == "half-open":
            one.end_break()
            one.breaker.acquire().release()
        before, heard = one.state, len(one.heard())

        one.breaker.reset()

        (event,) = one.heard()[heard:]
        assert (event.kind, event.old, event.new) == ("reset", before, CLOSED)
        assert [one.see(key) for key in ("failures", "calls", "consecutive")] == [0, 0, 0]
        assert (one.breaker.mode, one.see("last_error")) == (BreakerMode.NORMAL, None)
        one.fail()
        assert one.state is CLOSED

    def test_case_35_what_ran_before_a_reset_decides_nothing(self, bench):
        """Its outcome is counted in the totals only."""
        one = bench(failures=1)
        early = one.breaker.acquire()

        one.breaker.reset()
        early.failure(BOOM)

        assert (one.state, one.see("failures_total"), one.see("failures")) == (CLOSED, 1, 0)

    def test_case_35_a_reset_begins_the_growth_again(self, bench):
        """The next break is the first one."""
        one = bench(failures=1, break_s=30.0)
        one.fail()
        one.end_break()
        one.fail()

        one.breaker.reset()
        one.fail()

        assert one.breaker.retry_after_s == 30.0

    def test_case_36_an_illegal_transition_is_refused_by_name(self, bench):
        """Closed does not half-open, half-open not twice, and forced open only resets."""
        one = bench()
        with pytest.raises(IllegalTransitionError) as refused:
            one.breaker.half_open()
        assert (refused.value.source, refused.value.target) == ("closed", "half-open")
        assert refused.value.breaker == "generate:code-agent"
        one.trip()
        one.breaker.half_open()
        with pytest.raises(IllegalTransitionError):
            one.breaker.half_open()
        one.breaker.force_open()
        for forbidden, target in (
            (one.breaker.half_open, "half-open"),
            (one.breaker.disable, "disabled"),
            (one.breaker.metrics_only, "metrics_only"),
        ):
            with pytest.raises(IllegalTransitionError) as refused:
                forbidden()
            assert str(refused.value) == (
                f"The breaker generate:code-agent cannot go from forced_open to {target}."
            )

        assert one.kinds() == ["opened", "half_opened", "forced_open"]

    def test_case_36_a_person_may_end_a_break(self, bench):
        """Open half-opens by hand before its time, and the next call is the trial."""
        one = bench(break_s=30.0)
        one.trip()

        one.breaker.half_open()

        assert one.breaker.acquire().is_trial
        assert one.heard()[-1].kind == "half_opened"


class TestByName:
    def test_case_37_a_name_is_one_breaker(self):
        """Sixty-four threads that ask at once get the same one."""
        breakers, start, found = make_breakers(), threading.Barrier(64), []

        def ask() -> None:
            start.wait()
            found.append(breakers.get("load:m", config()))

        threads = [threading.Thread(target=ask) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(found), len(set(map(id, found)))) == (64, 1)
        assert breakers.get("load:m") is found[0]
        assert breakers.names() == ["load:m"]

    def test_case_37_names_are_independent(self):
        """What opens one leaves the other closed."""
        breakers = make_breakers()
        one, other = (breakers.get(name, config(failures=1)) for name in ("load:m", "load:n"))

        one.acquire().failure(BOOM)

        assert (one.state, other.state) == (OPEN, CLOSED)

    def test_case_37_other_rules_under_the_same_name_are_refused(self):
        """So is a name nobody has given rules."""
        breakers = make_breakers()
        breakers.get("load:m", config(failures=3))

        with pytest.raises(BreakerConfigError, match="another configuration") as refused:
            breakers.get("load:m", config(failures=4))
        assert refused.value.field == "load:m"
        with pytest.raises(BreakerConfigError, match="does not exist"):
            breakers.get("load:n")


class TestByConfiguration:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *[(name, bad) for name in ("failures", "minimum_calls", "trials") for bad in (0, -1)],
            *[
                (name, bad)
                for name in ("failures", "minimum_calls", "trials")
                for bad in (1.5, "3")
            ],
            *[(name, bad) for name in ("failure_rate", "slow_rate") for bad in (0, -0.1, 1.01)],
            *[(name, math.nan) for name in ("failure_rate", "window_s", "break_s", "growth")],
            *[(name, bad) for name in ("slow_ttft_s", "slow_gap_s") for bad in (0, -1)],
            *[(name, bad) for name in ("window_s", "trial_s") for bad in (0, -1, math.inf)],
            ("break_s", -0.1),
            ("break_max_s", 29.9),
            *[("growth", bad) for bad in (0.9, math.inf)],
            *[("jitter", bad) for bad in (-0.1, 1.0)],
            ("failuers", 3),
        ],
    )
    def test_case_38_nonsense_is_refused_at_the_start(self, field, value):
        """By a named error that says which number, before anything runs."""
        with pytest.raises(BreakerConfigError) as refused:
            BreakerConfig(**{field: value})

        assert refused.value.field == field

    @pytest.mark.parametrize(
        "rules",
        [
            {"failures": 1, "minimum_calls": 1, "trials": 1},
            {"failure_rate": 1.0, "slow_rate": 1},
            {"break_s": 0.0, "break_max_s": 0.0},
            {"break_s": math.inf, "break_max_s": math.inf},
            {"growth": 1.0, "jitter": 0.0},
            {"growth": 3, "jitter": 0.99},
            {"slow_ttft_s": math.inf, "slow_gap_s": 0.001},
            {"window_s": 0.5, "trial_s": 0.5},
        ],
    )
    def test_case_38_the_edges_are_allowed(self, rules):
        """What makes sense is taken as it is."""
        made = BreakerConfig(**rules)

        assert {name: getattr(made, name) for name in rules} == rules

    def test_case_38_settings_become_rules(self):
        """Every number of the settings arrives, with the deadline of a trial from elsewhere."""
        given = BreakerSettings(failures=5, break_s=1.5, trials=2)

        made = BreakerConfig.from_settings(given, trial_s=90.0)

        rules = given.model_dump(exclude={"enabled"})
        assert {name: getattr(made, name) for name in rules} == rules
        assert made.trial_s == 90.0

    def test_case_39_new_rules_hold_from_the_next_decision(self, bench):
        """A lower threshold counts the failures that are there; nothing opens by itself."""
        one = bench(failures=5)
        one.fail(3)

        one.breaker.reconfigure(replace(one.config, failures=3))

        assert (one.state, one.see("failures")) == (CLOSED, 3)
        one.fail()
        assert one.state is OPEN

    def test_case_39_a_break_under_way_keeps_its_end(self, bench):
        """The new length is that of the next one."""
        one = bench(break_s=30.0)
        one.trip()

        one.breaker.reconfigure(replace(one.config, break_s=5.0))
        assert one.breaker.retry_after_s == 30.0
        one.end_break()
        one.fail()

        assert one.breaker.retry_after_s == 10.0

    def test_case_39_a_window_can_be_made_shorter(self, bench):
        """Older outcomes are out at once."""
        one = bench(**by_rate(window_s=60.0))
        one.fail(2)
        one.clock.advance(20.0)

        one.breaker.reconfigure(replace(one.config, window_s=10.0))

        assert one.see("calls") == 0

    def test_case_39_fewer_trials_do_not_wedge_it(self, bench):
        """Where enough have ended under the new rules, they decide now."""
        one = bench(trials=3)
        one.trip()
        one.end_break()
        one.succeed(2)
        assert one.state is HALF_OPEN

        one.breaker.reconfigure(replace(one.config, trials=2))

        assert one.state is CLOSED

    def test_case_39_fewer_trials_can_open_it_now(self, bench):
        """One failure of three was not enough, one of two is: the break begins here."""
        one = bench(trials=3, failure_rate=0.5, break_s=30.0)
        one.trip()
        one.end_break()
        one.fail()
        assert one.state is HALF_OPEN
        one.clock.advance(5.0)

        one.breaker.reconfigure(replace(one.config, trials=2))

        assert (one.state, one.breaker.retry_after_s) == (OPEN, 60.0)
        assert one.heard()[-1].at_s == 1035.0

    def test_case_39_more_trials_may_run_at_once(self, bench):
        """The next caller is let through beside the one that runs."""
        one = bench(trials=1)
        one.trip()
        one.end_break()
        first = one.breaker.acquire()
        one.refused()

        one.breaker.reconfigure(replace(one.config, trials=2))

        assert one.breaker.acquire().is_trial
        first.release()

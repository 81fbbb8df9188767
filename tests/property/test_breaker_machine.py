"""Any order of calls, outcomes, time and hands on the switches: the breaker does as its model."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orion.breakers import Breaker, BreakerConfig, Permit
from orion.clock import ManualClock
from orion.errors import (
    CancelledError,
    CircuitOpenError,
    IllegalTransitionError,
    OutOfMemoryError,
)

BOOM = OutOfMemoryError(reason="no memory left")
RULES = st.builds(
    BreakerConfig,
    failures=st.integers(1, 4),
    window_s=st.sampled_from([10.0, 30.0]),
    minimum_calls=st.integers(1, 4),
    failure_rate=st.sampled_from([0.3, 0.5, 1.0]),
    slow_rate=st.sampled_from([0.5, 1.0]),
    break_s=st.sampled_from([0.0, 5.0, 20.0]),
    break_max_s=st.sampled_from([20.0, 60.0, math.inf]),
    growth=st.sampled_from([1.0, 2.0]),
    jitter=st.just(0.0),
    trials=st.integers(1, 3),
    trial_s=st.sampled_from([8.0, 40.0]),
)


class Model:
    """The rules once more, as plainly as can be."""

    def __init__(self, rules: BreakerConfig) -> None:
        self.rules, self.state, self.mode, self.generation = rules, "closed", "normal", 0
        self.calls: list[tuple[float, bool, bool, str | None]] = []  # when, failed, slow, voter
        self.verdicts: list[tuple[bool, bool]] = []  # of trials: failed, slow
        self.flights: dict[int, int] = {}
        self.due: dict[int, float] = {}
        self.run = self.reopened = self.opened = 0
        self.until = 0.0
        self.totals = {"admitted": 0, "successes": 0, "failures_total": 0, "ignored": 0}

    def enter(self, state: str) -> None:
        self.opened += state == "open" != self.state
        self.state, self.generation, self.due, self.verdicts = state, self.generation + 1, {}, []
        if state == "closed":
            self.calls, self.run, self.reopened = [], 0, 0

    def pass_time(self, now: float) -> None:
        for due, key in sorted((due, key) for key, due in self.due.items()):
            if due <= now:
                self.end(due, key, failed=True)
        self.calls = [call for call in self.calls if now - call[0] < self.rules.window_s]

    def wait(self, now: float) -> float | None:
        if self.state == "open" and now < self.until:
            return self.until - now
        if self.state == "half-open" and len(self.due) + len(self.verdicts) >= self.rules.trials:
            return min(self.due.values()) - now
        return None

    def admit(self, now: float, key: int) -> None:
        self.totals["admitted"] += 1
        self.flights[key] = -1
        if self.wait(now) is None:
            if self.state == "open":
                self.enter("half-open")
            if self.state == "half-open":
                self.due[key] = now + self.rules.trial_s
            self.flights[key] = self.generation

    def end(
        self, now: float, key: int, *, failed: bool | None, slow: bool = False,
        voter: str | None = None,
    ) -> None:  # fmt: skip
        if key not in self.flights:
            return
        is_current = self.flights.pop(key) == self.generation
        is_trial = self.due.pop(key, None) is not None
        name = {None: "ignored", True: "failures_total", False: "successes"}[failed]
        self.totals[name] += 1
        if failed is None or not is_current:
            return
        if failed and not is_trial and voter and voter in [call[3] for call in self.calls]:
            return
        self.calls.append((now, failed, slow, None if is_trial else voter))
        self.run = self.run + 1 if failed else (self.run if is_trial else 0)
        if is_trial:
            self.verdicts.append((failed, slow))
            self.judge_trials(now)
        elif (failed and (self.run >= self.rules.failures or self.over(1))) or (
            slow and self.over(2)
        ):
            self.trip(now)

    def over(self, column: int) -> bool:
        limit = self.rules.failure_rate if column == 1 else self.rules.slow_rate
        bad = sum(bool(call[column]) for call in self.calls)
        return len(self.calls) >= self.rules.minimum_calls and bad / len(self.calls) >= limit

    def judge_trials(self, now: float) -> None:
        rules = self.rules
        bad, slow = (sum(column) for column in zip(*self.verdicts, strict=True))
        if bad / rules.trials >= rules.failure_rate or slow / rules.trials >= rules.slow_rate:
            self.reopened += 1
            self.trip(now)
        elif len(self.verdicts) >= rules.trials:
            self.enter("closed")

    def trip(self, now: float) -> None:
        if self.mode == "metrics_only":
            return
        length = self.rules.break_s * self.rules.growth**self.reopened
        self.until = now + min(length, self.rules.break_max_s)
        self.enter("open")


class BreakerLife(RuleBasedStateMachine):
    """A breaker and its model live through the same."""

    @initialize(rules=RULES)
    def build(self, rules: BreakerConfig) -> None:
        self.clock = ManualClock(100.0)
        self.breaker = Breaker("generate:a", rules, clock=self.clock, random=Random(1))
        self.model = Model(rules)
        self.held: dict[int, Permit] = {}
        self.spent: list[Permit] = []
        self.refused = self.last_key = 0
        wall = time.time
        self.wall_s = 0.0
        self.patch = patch.object(time, "time", lambda: wall() + self.wall_s)
        self.patch.start()

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.stop()

    def admitted(self, permit: Permit) -> None:
        """Both let a call through."""
        if self.model.mode != "disabled":
            self.last_key += 1
            self.model.admit(self.clock.now(), self.last_key)
            self.held[self.last_key] = permit
            is_trial = self.last_key in self.model.due
            assert (permit.is_trial, permit.generation) == (
                is_trial, self.model.flights[self.last_key],
            )  # fmt: skip
            assert not is_trial or len(self.model.due) <= self.model.rules.trials, "22"

    def ended(self, key: int, **how: object) -> None:
        self.model.pass_time(self.clock.now())
        self.model.end(self.clock.now(), key, **how)  # type: ignore[arg-type]

    def take(self, data: st.DataObject) -> tuple[int, Permit]:
        key = data.draw(st.sampled_from(sorted(self.held)))
        permit = self.held.pop(key)
        self.spent = [*self.spent[-3:], permit]
        return key, permit

    @rule()
    def acquire(self) -> None:
        self.model.pass_time(self.clock.now())
        wait = self.model.wait(self.clock.now())
        if wait is None:
            self.admitted(self.breaker.acquire())
            return
        with pytest.raises(CircuitOpenError) as refusal:
            self.breaker.acquire()
        assert refusal.value.retry_after_s == min(wait, 3600.0)
        self.refused += 1

    @rule(ends=st.lists(st.sampled_from(["fail", "fail", "fail", "slow", "well"]), max_size=4))
    def work(self, ends: list[str]) -> None:
        """Calls one after the other, each over at once."""
        for end in ends:
            before = self.last_key
            self.acquire()
            if self.last_key > before:
                permit = self.held.pop(self.last_key)
                if end == "fail":
                    permit.failure(BOOM)
                else:
                    permit.success(gap_s=1e9 if end == "slow" else 0.1)
                self.ended(self.last_key, failed=end == "fail", slow=end == "slow")

    @precondition(lambda self: 0.0 < (self.model.wait(self.clock.now()) or 0.0) < math.inf)
    @rule()
    def wait_until_tried(self) -> None:
        self.clock.advance(self.model.wait(self.clock.now()) or 0.0)

    @precondition(lambda self: self.model.mode != "normal")
    @rule()
    def back_to_the_rules(self) -> None:
        self.reset()

    @rule()
    def admit(self) -> None:
        self.model.pass_time(self.clock.now())
        self.admitted(self.breaker.admit())

    @precondition(lambda self: self.held)
    @rule(data=st.data(), slow=st.booleans())
    def succeed(self, data: st.DataObject, *, slow: bool) -> None:
        key, permit = self.take(data)
        permit.success(ttft_s=1e9 if slow else 0.1, gap_s=0.1)
        self.ended(key, failed=False, slow=slow)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), slow=st.booleans(), voter=st.sampled_from([None, None, "a", "b"]))
    def fail(self, data: st.DataObject, *, slow: bool, voter: str | None) -> None:
        key, permit = self.take(data)
        permit.failure(BOOM, voter=voter, gap_s=1e9 if slow else None)
        self.ended(key, failed=True, slow=slow, voter=voter)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["ignore", "cancel"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        key, permit = self.take(data)
        if how == "ignore":
            permit.failure(CancelledError())
        else:
            permit.release()
        self.ended(key, failed=None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        key, permit = self.take(data)
        self.spent.clear()
        del permit
        if self.breaker.snapshot()["in_flight"] == len(self.model.flights):
            gc.collect()  # not everywhere is the last reference the end
        self.ended(key, failed=None)

    @precondition(lambda self: self.spent)
    @rule()
    def say_it_twice(self) -> None:
        for permit in self.spent:
            permit.success(ttft_s=1e9)
            permit.failure(BOOM)
            permit.release()

    @rule(seconds=st.sampled_from([0.5, 3.0, 5.0, 8.0, 10.0, 60.0, 1e6]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def tick(self) -> None:
        self.breaker.tick()

    @rule(days=st.sampled_from([-1, 1]))
    def jump_wall_clock(self, days: int) -> None:
        self.wall_s += 86_400.0 * days

    @rule(rules=RULES)
    def reconfigure(self, rules: BreakerConfig) -> None:
        self.breaker.reconfigure(rules)
        self.model.pass_time(self.clock.now())
        self.model.rules = rules
        if self.model.state == "half-open" and self.model.verdicts:
            self.model.judge_trials(self.clock.now())

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.model.pass_time(self.clock.now())
        self.model.mode = "normal"
        self.model.enter("closed")

    @rule(mode=st.sampled_from(["forced_open", "disabled", "metrics_only"]))
    def set_mode(self, mode: str) -> None:
        names = {"forced_open": "force_open", "disabled": "disable", "metrics_only": "metrics_only"}
        legal = self.model.mode in {mode, "normal", "disabled", "metrics_only"}
        self.try_to(getattr(self.breaker, names[mode]), legal=legal)
        self.model.pass_time(self.clock.now())
        if legal and mode != self.model.mode:
            self.model.mode = mode
            if mode == "forced_open":
                self.model.until = math.inf
            self.model.enter("open" if mode == "forced_open" else "closed")

    @rule()
    def half_open(self) -> None:
        self.model.pass_time(self.clock.now())
        legal = self.model.mode != "forced_open" and self.model.state == "open"
        self.try_to(self.breaker.half_open, legal=legal)
        if legal:
            self.model.enter("half-open")

    def try_to(self, move: Callable[[], None], *, legal: bool) -> None:
        try:
            move()
        except IllegalTransitionError:
            assert not legal, "refused, and the model allows it"
        else:
            assert legal, "allowed, and the model refuses"

    @invariant()
    def does_as_the_model(self) -> None:
        if not hasattr(self, "breaker"):
            return
        now, model = self.clock.now(), self.model
        model.pass_time(now)
        seen = self.breaker.snapshot()
        for key in [key for key in self.held if key not in model.flights]:  # expired
            self.spent.append(self.held.pop(key))
        waits = model.wait(now) or 0.0
        expected = {
            **model.totals, "state": model.state, "mode": model.mode, "refused": self.refused,
            "generation": model.generation, "calls": len(model.calls), "consecutive": model.run,
            "failures": sum(call[1] for call in model.calls), "in_flight": len(model.flights),
            "trial_in_flight": bool(model.due), "opened": model.opened,
            "retry_after_s": round(waits, 3) if waits < math.inf else None,
        }  # fmt: skip
        assert {key: seen[key] for key in expected} == expected

    @invariant()
    def everything_is_accounted_for(self) -> None:
        if not hasattr(self, "breaker"):
            return
        seen = self.breaker.snapshot()
        ended = seen["successes"] + seen["failures_total"] + seen["ignored"]
        assert seen["admitted"] == ended + seen["in_flight"], "42"
        assert all(value >= 0 for value in seen.values() if isinstance(value, int | float))
        assert seen["state"] in {"closed", "open", "half-open"}
        assert seen["failures"] <= seen["calls"]


def run_sequences(count: int, steps: int, chosen: int | None = None) -> None:
    """Live through `count` lives of up to `steps` steps; raises where one goes wrong."""
    life = BreakerLife if chosen is None else seed(chosen)(BreakerLife)
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


class TestLife:
    def test_any_life_is_that_of_the_model(self):
        """`benchmarks.chaos.breaker` lives through more and longer ones."""
        run_sequences(80, 40)

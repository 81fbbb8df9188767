"""Cases 40 to 43: listeners and numbers."""

from __future__ import annotations

import json
import random
import threading
from queue import Empty

import pytest
from pybreaker import CircuitBreakerListener

from orion.breakers import BreakerEvent, BreakerState, EventKind
from orion.breakers.delivery import LONG_S, MOST_WAITING, Delivery
from orion.clock import ManualClock
from orion.errors import CancelledError, CircuitOpenError
from tests.conformance.breaker_support import (
    BOOM,
    FLUSH_S,
    Recorder,
    balance,
    config,
    make_breakers,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
WHOLE_LIFE = ["opened", "half_opened", "opened", "half_opened", "closed", "reset"]


def live(one) -> None:
    """Open, fail a trial, pass a trial, reset."""
    one.trip()
    one.end_break()
    one.fail()
    one.end_break()
    one.succeed()
    one.breaker.reset()


class Emptied:
    """A queue whose reader is quick between two questions."""

    asked = 0

    def put(self, _: object) -> None: ...

    def qsize(self) -> int:
        return MOST_WAITING + 1

    def get_nowait(self) -> None:
        self.asked += 1
        raise Empty


class TestListeners:
    def test_case_40_events_arrive_in_order_and_once(self, bench):
        """Every listener hears the whole life of the breaker."""
        one, other = bench(), []
        one.breaker.subscribe(other.append)

        live(one)

        assert one.kinds() == WHOLE_LIFE
        assert [event.generation for event in one.heard()] == [1, 2, 3, 4, 5, 6]
        assert one.breaker.generation == 6
        assert other == one.heard()

    def test_case_40_every_event_says_when(self, bench):
        """On the breaker's clock."""
        one = bench(failures=1, break_s=30.0)
        deeds = (
            one.fail, one.breaker.half_open, one.succeed, one.breaker.reset, one.fail,
            one.end_break, one.succeed, one.breaker.metrics_only, one.fail,
            one.breaker.disable, one.breaker.force_open,
        )  # fmt: skip

        for deed in deeds:
            one.clock.advance(1.0)
            deed()

        assert [(event.at_s - 1000.0, event.kind) for event in one.heard()] == [
            (1.0, "opened"), (2.0, "half_opened"), (3.0, "closed"), (4.0, "reset"),
            (5.0, "opened"), (36.0, "half_opened"), (36.0, "closed"), (37.0, "metrics_only"),
            (38.0, "threshold"), (39.0, "disabled"), (40.0, "forced_open"),
        ]  # fmt: skip

    def test_case_40_a_listener_may_call_back(self, bench):
        """It runs outside the lock and on a thread of its own, so the breaker answers it."""
        one, answers = bench(), []

        def look(event: BreakerEvent) -> None:
            answers.append((one.breaker.state, one.breaker.would_refuse() is not None))
            if event.kind is EventKind.OPENED:
                one.breaker.reset()

        one.breaker.subscribe(look)
        one.trip()

        assert one.breaker.flush(FLUSH_S)
        assert one.breaker.flush(FLUSH_S)
        assert answers == [(OPEN, True), (CLOSED, False)]

    def test_case_40_a_pybreaker_listener_hears_of_states(self, bench):
        """It gets what pybreaker would give it, and nothing where the state stayed."""
        one, seen = bench(), []

        class Ear(CircuitBreakerListener):
            def state_change(self, cb, old_state, new_state):
                seen.append((cb.name, old_state and old_state.name, new_state.name))

        one.breaker.subscribe(Ear())
        live(one)
        one.breaker.flush(FLUSH_S)

        assert [(old, new) for _, old, new in seen] == [
            (CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (OPEN, HALF_OPEN),
            (HALF_OPEN, CLOSED),
        ]  # fmt: skip
        assert {name for name, _, _ in seen} == {"generate:code-agent"}

    def test_case_41_a_listener_that_raises_is_logged_once(self, bench):
        """Callers and the other listeners notice nothing."""
        one = bench()

        def fall(event: BreakerEvent) -> None:
            raise LookupError(event.kind)

        one.breaker.subscribe(fall)
        live(one)

        assert one.kinds() == WHOLE_LIFE
        assert one.log.lines == [("warning", "breaker.listener", {"problem": "raised LookupError"})]

    def test_case_41_a_listener_that_blocks_stops_nobody(self, bench):
        """Callers go on, others hear; far behind, the oldest events go and the log says so."""
        one, go_on, late = bench(failures=1, break_s=0.0), threading.Event(), []
        logged = threading.Event()

        def write(_: str, **facts: str) -> None:
            here = threading.current_thread()
            one.log.lines.append((facts["problem"], here is caller, here.daemon))
            logged.set()

        caller, one.log.warning = threading.current_thread(), write

        def block(event: BreakerEvent) -> None:
            go_on.wait()
            late.append(event)

        one.breaker.subscribe(block)
        one.fail(MOST_WAITING)
        one.fail()
        assert logged.wait(FLUSH_S)
        go_on.set()

        events = one.heard()
        assert len(events) == 2 * MOST_WAITING + 1
        assert one.log.lines == [("is far behind", False, True)]
        assert late[1:] == events[-len(late) + 1 :]
        assert MOST_WAITING <= len(late) <= MOST_WAITING + 2

    def test_case_41_a_listener_may_be_behind_by_so_much(self, bench):
        """As long as it is not more, it misses nothing and nobody complains."""
        one, late = bench(failures=1, break_s=0.0), []
        go_on, began = threading.Event(), threading.Event()

        def block(event: BreakerEvent) -> None:
            began.set()
            go_on.wait()
            late.append(event)

        one.breaker.subscribe(block)
        one.fail()
        assert began.wait(FLUSH_S)
        one.fail(MOST_WAITING // 2)
        go_on.set()

        assert len(one.heard()) == MOST_WAITING + 1
        assert (late, one.log.lines) == (one.heard(), [])

    def test_case_41_a_queue_that_empties_meanwhile_is_no_error(self):
        """It was too long a moment ago, and is read to its end now."""
        delivery = Delivery(clock=ManualClock(), log=None)
        queue, emptied = delivery._calls, Emptied()
        delivery._calls = emptied

        delivery.put(str, "event")
        queue.put(None)

        assert emptied.asked == 1

    @pytest.mark.parametrize(("took_s", "logged"), [(LONG_S, False), (LONG_S + 0.01, True)])
    def test_case_41_a_listener_that_takes_long_is_logged_once(self, bench, took_s, logged):
        """Measured on the breaker's clock."""
        one = bench()
        one.breaker.subscribe(lambda _: one.clock.advance(took_s))

        live(one)
        one.breaker.flush(FLUSH_S)

        problems = [facts["problem"] for _, _, facts in one.log.lines]
        assert problems == ["takes long"] * logged


class TestNumbers:
    def test_case_42_every_admitted_call_is_accounted_for(self, bench):
        """At every instant of a long random life."""
        one = bench(failures=3, break_s=5.0, trials=2, trial_s=20.0)
        dice, held = random.Random(42), []

        for _ in range(3000):
            one.clock.advance(dice.choice([0.0, 0.5, 3.0]))
            deed = dice.random()
            if deed < 0.45:
                try:
                    held.append(one.breaker.acquire())
                except CircuitOpenError:
                    held.append(one.breaker.admit())
            elif deed < 0.95 and held:
                permit = held.pop(dice.randrange(len(held)))
                end = dice.choice([
                    permit.success, permit.release, lambda p=permit: p.failure(BOOM),
                    lambda p=permit: p.failure(CancelledError()), lambda: None,
                ])  # fmt: skip
                end()
                del permit, end
            elif deed > 0.99:
                one.breaker.reset()
            assert balance(one.breaker.snapshot()) == 0

        seen = one.breaker.snapshot()
        held.clear()
        assert min(seen["opened"], seen["ignored"], seen["refused"], seen["successes"]) > 10
        assert (one.see("in_flight"), balance(one.breaker.snapshot())) == (0, 0)

    def test_case_43_health_is_what_the_states_say(self):
        """Down: open for some time yet. Degraded: to be tried, being tried, or failures counted.
        Healthy: the rest. Sorted."""
        breakers = make_breakers()
        rules = config(failures=2, break_s=30.0)
        names = ("open", "due", "forced", "trial", "tried", "failing", "past", "fine", "disabled")
        made = {name: breakers.get(f"generate:{name}", rules) for name in names}
        made["due"].acquire().failure(BOOM)
        made["due"].acquire().failure(BOOM)
        made["due"]._clock.advance(30.0)
        for name in ("open", "trial", "tried", "disabled"):
            made[name].acquire().failure(BOOM)
            made[name].acquire().failure(BOOM)
        made["forced"].force_open()
        made["trial"].half_open()
        made["tried"].half_open()
        trial = made["tried"].acquire()
        made["failing"].acquire().failure(BOOM)
        made["disabled"].disable()
        made["past"].acquire().failure(BOOM)
        made["past"].acquire().success()

        assert breakers.health() == {
            "healthy": ["generate:disabled", "generate:fine"],
            "degraded": [
                "generate:due", "generate:failing", "generate:past", "generate:trial",
                "generate:tried",
            ],
            "down": ["generate:forced", "generate:open"],
        }  # fmt: skip
        assert json.dumps(breakers.health()) == json.dumps(breakers.health())
        trial.release()

    def test_case_43_a_run_of_failures_outlives_the_window(self):
        """Until a success ends it, it is held against the breaker."""
        breakers = make_breakers()
        breaker = breakers.get("load:m", config(failures=3, window_s=60.0))
        breaker.acquire().failure(BOOM)
        breaker._clock.advance(60.0)

        assert breaker.snapshot()["failures"] == 0
        assert breakers.health()["degraded"] == ["load:m"]

    def test_case_43_a_snapshot_is_stable_json(self, bench):
        """The same keys in the same order in every state, and nothing JSON cannot say."""
        one = bench(break_s=30.0)
        shapes = []

        def look() -> None:
            shapes.append(list(json.loads(json.dumps(one.breaker.snapshot(), allow_nan=False))))

        look()
        one.trip()
        look()
        one.end_break()
        permit = one.breaker.acquire()
        look()
        permit.release()
        one.breaker.force_open()
        look()

        assert shapes == [shapes[0]] * 4
        assert one.breaker.snapshot() == {
            "name": "generate:code-agent", "kind": "generate", "target": "code-agent",
            "state": "open", "mode": "forced_open", "generation": 3, "failures": 3,
            "consecutive": 3, "calls": 3, "failure_rate": None, "slow_rate": None,
            "retry_after_s": None, "opened": 2,
            "last_error": {"code": "out_of_memory", "message": str(BOOM)},
            "trial_in_flight": False, "admitted": 4, "successes": 0, "failures_total": 3,
            "ignored": 1, "in_flight": 0, "refused": 0,
        }  # fmt: skip

    def test_case_43_a_registry_tells_all(self):
        """Its log has a line for every event; its listeners hear of breakers made later."""
        log, heard = Recorder(), []
        breakers = make_breakers(log=log)
        breakers.subscribe(heard.append)
        breakers.get("load:m", config(failures=1, break_s=30.0)).acquire().failure(BOOM)

        assert breakers.reset("load:m") == ["load:m"]
        assert breakers.flush(FLUSH_S)
        breakers.close()

        assert [(event.name, event.kind) for event in heard] == [
            ("load:m", "opened"), ("load:m", "reset"),
        ]  # fmt: skip
        assert log.lines == [
            ("warning", "breaker.changed", {
                "breaker": "load:m", "event_kind": "opened", "old": "closed", "new": "open",
                "mode": "normal", "reason": "consecutive", "cause": "out_of_memory",
                "break_s": 30.0,
            }),
            ("info", "breaker.changed", {
                "breaker": "load:m", "event_kind": "reset", "old": "open", "new": "closed",
                "mode": "normal", "reason": None, "cause": None, "break_s": None,
            }),
        ]  # fmt: skip

"""Deadlines, messages that end workers, and faults on request."""

from __future__ import annotations

from dataclasses import replace

from orion.breakers import BreakerState
from orion.dispatcher import Fault
from orion.protocol import Generate, Load, Stop
from orion.types import FaultKind
from tests.fakes.asking import LAST, ask, fail, state
from tests.fakes.hall import Hall, done, error_of, kinds


class TestPoison:
    def die(self, hall: Hall) -> None:
        """The worker dies, and its model is loaded again."""
        hall.holder("a").exit(-11)
        hall.settle()
        hall.pass_time(1.0)
        hall.holder("a").has_loaded(slots=4)
        hall.settle()

    def test_two_deaths_and_a_message_is_refused_for_an_hour(self, hall):
        """Also when the second was the fallback of the first."""
        hall.load(slots=4)
        ticket = ask(hall, "code", LAST, content="poison")
        self.die(hall)
        assert kinds(ticket) == ["Granted", "FellBack", "Granted"]
        self.die(hall)

        assert error_of(ticket).code == "quarantined"
        again = error_of(ask(hall, "creative", LAST, content="poison"))
        assert (again.code, again.status, again.facts["minutes"]) == ("quarantined", 422, 60)
        assert hall.dispatcher.quarantined == 1
        hall.clock.advance(3601.0)
        assert hall.dispatcher.quarantined == 0

    def test_those_who_were_near_are_not_refused(self, hall):
        """An answer clears them, and suspects never share a worker."""
        hall.load(slots=4)
        poison = ask(hall, "code", LAST, content="poison")
        innocent = ask(hall, "code", LAST, content="hello")
        self.die(hall)
        assert kinds(poison)[-1] == "Granted"
        assert kinds(innocent) == ["Granted", "FellBack"]
        self.die(hall)

        assert error_of(poison).code == "quarantined"
        assert kinds(innocent) == ["Granted"]
        hall.holder("a").say(done(innocent))
        hall.settle()
        assert kinds(ask(hall, "code", content="hello")) == ["Granted"]

    def test_a_worker_that_was_killed_for_not_stopping_accuses_nobody(self, hall):
        """Whoever stopped it did nothing wrong."""
        worker = hall.load()
        ticket = ask(hall, "code", content="long")
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.pass_time(0.6)
        hall.pass_time(0.3)
        assert worker.terminated.is_set()
        hall.settle()

        assert not hall.dispatcher._desk.quarantine._cases


class TestDeadline:
    def test_the_request_has_one_deadline_over_everything(self, hall):
        """Waiting for a load counts."""
        ticket = ask(hall, "code", limit_s=5.0)
        hall.pass_time(5.1)

        error = error_of(ticket)
        assert (error.code, error.phase, error.limit_s) == ("deadline", "loading", 5.0)
        assert hall.dispatcher.counts()["waiting"] == 0
        hall.holder("a").has_loaded()
        hall.settle()

    def test_and_waiting_for_a_slot(self, hall):
        """Those who run are not disturbed."""
        hall.load(slots=1)
        runs, waits = ask(hall, "code"), ask(hall, "code", limit_s=5.0)
        hall.pass_time(5.1)

        assert error_of(waits).phase == "waiting"
        assert kinds(runs) == ["Granted"]

    def test_an_attempt_without_text_is_taken_over_when_its_time_is_up(self, hall):
        """On a worker that has let go of it, or on a new one: never beside its own hang."""
        worker = hall.load(slots=2)
        ticket = ask(hall, "code", LAST, limit_s=300.0)
        hall.pass_time(90.1)
        assert worker.received(Stop) == [Stop(request_id="q2.0")]
        assert kinds(ticket) == ["Granted", "FellBack"]
        worker.say(done("q2"))
        hall.settle()

        assert kinds(ticket) == ["Granted"]
        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["consecutive"], seen["in_flight"]) == (1, 0)

    def test_the_worker_knows_the_deadline_and_may_be_first(self, hall):
        """What it ends by itself is the deadline, not an answer."""
        hall.load()
        ticket = ask(hall, "code")
        frame = hall.holder("a").received(Generate)[0]
        assert frame.deadline_s == hall.clock.now() + 90.0
        hall.clock.advance(89.99)
        ended = replace(done(ticket), finish_reason="cancelled")
        hall.holder("a").say(ended)
        hall.settle()

        assert error_of(ticket).code == "deadline"
        assert hall.dispatcher.counts()["running"] == 0

    def test_a_worker_of_its_own_that_ignores_a_stop_is_ended_soon(self, hall):
        """Half a second, where nobody else uses it; then its model comes back."""
        worker = hall.load()
        ticket = ask(hall, "code")
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.pass_time(0.4)
        assert not worker.terminated.is_set()
        hall.pass_time(0.2)
        hall.pass_time(0.3)
        assert worker.terminated.is_set()

        hall.settle()
        hall.pass_time(0.6)
        assert hall.holder("a").received(Load)


class TestInjection:
    def test_a_fault_travels_with_the_next_request_of_its_agent(self, hall):
        """Once, and nobody else's."""
        hall.load(slots=4)
        fault = Fault(target="code", where="generate", kind=FaultKind.HANG, times=1)
        hall.dispatcher.faults.add(fault)
        ask(hall, "creative")
        ask(hall, "code")
        ask(hall, "code")

        assert [frame.fault for frame in hall.holder("a").received(Generate)] == ["", "hang", ""]
        assert hall.dispatcher.faults.pending() == []

    def test_a_fault_travels_with_the_next_load(self, hall):
        """As often as asked."""
        hall.dispatcher.faults.add(Fault(target="a", where="load", kind=FaultKind.FAIL, times=2))
        ask(hall, "code")

        assert hall.holder("a").received(Load)[0].fault == "fail"
        assert hall.dispatcher.faults.pending()[0]["times"] == 1
        assert hall.dispatcher.faults.clear() == 1

    def test_injected_failures_are_not_the_prompts_fault(self, hall):
        """The same words may vote three times."""
        hall.load()
        hall.dispatcher.faults.add(
            Fault(target="code", where="generate", kind=FaultKind.FAIL, times=3)
        )
        for _ in range(3):
            fail(hall, ask(hall, "code", content="the same"))

        assert state(hall, "generate:code") is BreakerState.OPEN

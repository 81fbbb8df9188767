"""What comes back by itself, what is forgiven, and what lies."""

from __future__ import annotations

import threading

import pytest

from orion.breakers import BreakerState
from orion.dispatcher import Attempt, Ticket, WorkerState
from orion.protocol import Delta, Generate, Heartbeat, Load, LoadFailed, Prefilling, Stop
from orion.workers import Pulse
from tests.fakes.asking import LAST, ask, fail, state, text
from tests.fakes.hall import LIMIT_S, Hall, done, error_of, heard, job, kinds

NO_ROOM = {"model": "a", "reason": "no room"}


def load_fails(hall: Hall, code: str = "load_failed", **facts) -> None:
    hall.holder("a").say(LoadFailed(model="a", code=code, facts=facts or NO_ROOM))
    hall.settle()


def loads(hall: Hall) -> int:
    """How often a worker was sent a load."""
    return sum(len(worker.received(Load)) for worker in hall.works.workers)


class TestComingBack:
    def test_a_load_that_failed_is_tried_again_without_a_request(self, make_hall):
        """Or a gateway that waits for readiness would wait for ever."""
        hall = make_hall(used_models=frozenset({"a"}))
        ask(hall, "code")
        load_fails(hall)
        assert hall.dispatcher.missing == {"a"}
        hall.pass_time(0.6)
        hall.holder("a").has_loaded()
        hall.settle()

        assert hall.dispatcher.missing == frozenset()
        assert hall.dispatcher.load_errors == {}

    def test_but_not_a_model_that_no_agent_uses(self, hall):
        """Somebody asked for it once."""
        ask(hall, "code")
        load_fails(hall)
        hall.pass_time(60.0)

        assert loads(hall) == 1

    def test_a_breaker_that_is_reset_lets_it_back_at_once(self, hall):
        """Whatever it had said about the time to wait."""
        hall.load()
        hall.breakers.get("load:a", hall.rules).force_open()
        hall.holder("a").exit(-9)
        hall.settle()
        hall.pass_time(60.0)
        before = loads(hall)
        hall.breakers.get("load:a", hall.rules).reset()
        hall.pass_time(0.1)

        assert loads(hall) == before + 1

    def test_a_model_that_loads_and_dies_is_not_loaded_in_a_circle(self, hall):
        """Each time it waits longer, up to two seconds, until it has answered or lived a while."""
        hall.load()
        born = []
        for _ in range(300):
            hall.pass_time(0.1)
            worker = hall.works.workers[-1]
            if not worker.gone and worker.received(Load):
                if not born or hall.clock.now() - born[-1] > 0.05:
                    born.append(hall.clock.now())
                worker.has_loaded()
                hall.settle()
                worker.exit(-11)
                hall.settle()

        assert len(born) < 25
        assert born[-1] - born[-2] == pytest.approx(2.0, abs=0.3)

    def test_a_last_resort_that_loads_ends_the_break_of_its_model(self, make_hall):
        """There would be no other trial: it is resident now."""
        hall = make_hall(places=2)
        for _ in range(3):
            ask(hall, "code")
            load_fails(hall)
        assert state(hall, "load:a") is BreakerState.OPEN
        ask(hall, LAST)
        hall.holder("a").has_loaded()
        hall.settle()

        assert state(hall, "load:a") is BreakerState.CLOSED

    def test_a_free_place_is_used_though_others_wait_for_a_busy_model(self, make_hall):
        """They do not want the place."""
        hall = make_hall(places=2)
        hall.load("a")
        hall.load("b", slots=1)
        ask(hall, "code", models="b")
        ask(hall, "code", models="b")
        hall.holder("a").exit(-9)
        hall.settle()
        hall.pass_time(0.6)

        assert hall.holder("a").received(Load)

    def test_what_was_unloaded_and_died_stays_away(self, hall):
        """Busy when it was asked, dead before it could."""
        worker = hall.load()
        ask(hall, "code")
        told = threading.Thread(target=hall.dispatcher.unload, args=("a", LIMIT_S))
        told.start()
        while not hall.dispatcher._desk.unload_waiters:
            hall.settle()
        worker.exit(-9)
        told.join(LIMIT_S)
        hall.pass_time(5.0)

        assert hall.states() == []

    def test_a_spare_that_dies_as_it_is_given_a_load_costs_no_request(self, hall):
        """Another process takes the load."""
        hall.dispatcher.keep_spares()
        hall.pass_time(0.2)
        spare = hall.works[0]
        spare.is_ready()
        hall.settle()
        ticket = ask(hall, "code")
        spare.exit(-9)
        hall.settle()
        hall.holder("a").has_loaded()
        hall.settle()

        assert kinds(ticket) == ["Granted"]
        assert hall.breakers.get("load:a", hall.rules).snapshot()["failures"] == 0

    def test_a_spare_that_is_being_ended_is_given_nothing(self, hall):
        """It would take the load with it."""
        hall.works.polite = False
        hall.dispatcher.keep_spares()
        hall.pass_time(0.2)
        spare = hall.works[0]
        spare.pid = 7
        spare.is_ready()
        spare.say(Heartbeat(rss_bytes=1, num_tokens=0, active=0))
        hall.pulses[7] = Pulse(stopped=True, cpu_s=0.0)
        for _ in range(6):
            hall.pass_time(0.5)
        assert hall.states()[0] is WorkerState.LEAVING
        ask(hall, "code")

        assert spare.received(Load) == []


class TestForgiving:
    def test_a_place_that_vanished_strands_nobody(self, make_hall):
        """The breaker opened and the worker died in the same moment as the grant."""
        hall = make_hall(places=2)
        ticket = ask(hall, "code", LAST, models="ab")
        hall.breakers.get("generate:code", hall.rules).force_open()
        hold = threading.Event()
        hall.dispatcher._inbox.put(lambda: hold.wait(LIMIT_S))
        worker = hall.holder("a")
        worker.has_loaded()
        worker.exit(-9)
        hold.set()
        hall.settle()
        hall.settle()
        hall.holder("b").has_loaded()
        hall.settle()

        assert kinds(ticket) == ["FellBack", "Granted"]

    def test_a_stop_that_was_obeyed_while_nobody_looked_is_no_crime(self, hall):
        """What the worker said lay unread."""
        worker = hall.load()
        ticket = ask(hall, "code")
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hold = threading.Event()
        hall.dispatcher._inbox.put(lambda: hold.wait(LIMIT_S))
        hall.clock.advance(3.0)
        worker.say(done(ticket))
        hold.set()
        hall.settle()
        hall.pass_time(0.3)

        assert not worker.terminated.is_set()

    def test_nobody_new_is_let_in_where_a_stop_goes_unheard(self, hall):
        """That worker may have to be ended."""
        hall.load(slots=4)
        ticket = ask(hall, "code")
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.pass_time(0.3)
        late = ask(hall, "code")
        assert heard(late) == []
        hall.holder("a").say(done(ticket))
        hall.settle()

        assert kinds(late) == ["Granted"]

    def test_an_attempt_that_was_let_in_too_late_has_not_failed(self, hall):
        """The queue took its time."""
        worker = hall.load(slots=1)
        first = ask(hall, "code")
        second = ask(hall, "code", limit_s=5.0)
        hall.pass_time(4.9)
        worker.say(done(first))
        hall.settle()
        hall.pass_time(0.2)

        assert error_of(second).code == "deadline"
        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["failures"], seen["in_flight"]) == (0, 0)

    def test_a_load_that_cannot_write_is_a_failed_load(self, make_hall):
        """Another agent answers."""
        hall = make_hall(places=2)
        hall.load("b")
        ticket = ask(hall, "code", LAST, models="ab")
        load_fails(hall, "home_not_writable", home="/h", reason="read only")

        assert kinds(ticket) == ["FellBack", "Granted"]

    def test_a_suspect_runs_alone(self, hall):
        """So that the next death has one culprit."""
        hall.load(slots=4)
        suspect = ask(hall, "code", LAST, content="hello")
        hall.holder("a").exit(-9)
        hall.settle()
        hall.holder("a").has_loaded(slots=4)
        hall.settle()
        assert kinds(suspect)[-1] == "Granted"
        other = ask(hall, "code")
        assert heard(other) == []
        hall.holder("a").say(done(suspect))
        hall.settle()

        assert kinds(other) == ["Granted"]

    def test_an_answer_of_another_model_clears_nobody(self, make_hall):
        """The message would go on ending workers of the first."""
        hall = make_hall(places=2)
        for _ in range(2):
            if hall.dispatcher.missing or not hall.states():
                hall.pass_time(1.0)
            if "a" not in hall.dispatcher._desk.scheduler.resident:
                hall.load("a")
            ticket = ask(hall, "code", LAST, models="ab", content="poison")
            hall.holder("a").exit(-11)
            hall.settle()
            if "b" not in hall.dispatcher._desk.scheduler.resident and not ticket.ended:
                hall.holder("b").has_loaded()
                hall.settle()
            if not ticket.ended:
                hall.holder("b").say(done(ticket))
                hall.settle()

        assert error_of(ask(hall, "code", models="a", content="poison")).code == "quarantined"
        assert kinds(ask(hall, "code", models="b", content="poison")) == ["Granted"]


class TestLying:
    def test_an_error_with_odd_facts_is_still_an_error(self, hall):
        """No slot is lost over it."""
        hall.load(slots=1)
        ticket = ask(hall, "code")
        fail(hall, ticket, "overloaded", retry_after_s="soon")

        assert error_of(ticket).code == "generation_failed"
        assert hall.dispatcher.counts()["running"] == 0

    def test_a_load_cannot_fail_after_it_ended(self, hall):
        """The worker is ended, and its requests go on."""
        worker = hall.load()
        ticket = ask(hall, "code", LAST)
        worker.say(LoadFailed(model="a", code="load_failed", facts=NO_ROOM))
        hall.settle()
        assert worker.killed.is_set()
        hall.settle()
        hall.holder("a").has_loaded()
        hall.settle()

        assert kinds(ticket) == ["Granted", "FellBack", "Granted"]

    def test_a_prompt_that_is_read_for_ever_ends_the_worker(self, hall):
        """What waits for a caller has a bound."""
        worker = hall.load()
        ticket = ask(hall, "code")
        for number in range(3000):
            worker.say(Prefilling(request_id=job(ticket), read_tokens=number, prompt_tokens=9))

        assert worker.killed.is_set()
        assert ticket.messages.qsize() < 2100

    def test_an_injected_death_accuses_nobody(self, hall):
        """And is one failure of its agent."""
        hall.load(slots=4)
        generate = Generate(request_id="x", messages=[], sampling={})
        attempt = Attempt(agent="code", breaker="code", model="a", generate=generate)
        ticket = Ticket(request_id="x", attempts=(attempt,), content=("hello",))
        hall.dispatcher.submit(ticket)
        hall.settle()
        assert ticket.job is not None
        ticket.job.injected = True
        ask(hall, "code", content="hi")
        hall.holder("a").exit(-9)
        hall.settle()

        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert seen["consecutive"] == 1
        assert not hall.dispatcher._desk.quarantine._cases

    def test_one_long_gap_does_not_excuse_a_deaf_worker_for_ever(self, hall):
        """Fifteen seconds are the end of patience."""
        worker = hall.load(slots=4)
        ticket, other = ask(hall, "code"), ask(hall, "code")
        worker.say(text(ticket))
        hall.clock.advance(20.0)
        worker.say(Delta(request_id=job(ticket), seq=1, text="x", num_tokens=1), text(other))
        hall.settle()
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        assert worker.received(Stop)
        hall.pass_time(15.1)
        hall.pass_time(0.3)

        assert worker.terminated.is_set()

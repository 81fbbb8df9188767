"""When agents fail: who takes over, what the breakers hear."""

from __future__ import annotations

import pytest

from orion.breakers import BreakerState
from orion.dispatcher import FellBack, Granted
from orion.protocol import Generate, LoadFailed
from tests.fakes.asking import LAST, ask, fail, state, text
from tests.fakes.hall import done, error_of, heard, kinds


class TestFallback:
    def test_the_next_agent_takes_over_in_the_same_slot(self, hall):
        """Nobody who waits gets in between."""
        hall.load(slots=1)
        first, second = ask(hall, "code", LAST), ask(hall, "code", LAST)
        fail(hall, first)

        assert kinds(first) == ["Granted", "FellBack", "Granted"]
        assert heard(second) == []
        sent = hall.holder("a").received(Generate)
        assert [frame.request_id for frame in sent] == ["q2.0", "q2.1"]
        assert hall.dispatcher.tally.fallbacks == 1

    def test_the_caller_hears_who_and_why(self, hall):
        """The error of the one that failed, and the attempt that follows."""
        hall.load()
        ticket = ask(hall, "code", LAST)
        fail(hall, ticket, reason="out of ideas")

        said = next(message for message in heard(ticket) if isinstance(message, FellBack))
        assert said.attempt is ticket.attempts[1]
        assert said.error.reason == "out of ideas"

    def test_the_list_is_tried_in_order_and_each_once(self, hall):
        """When the last has failed, its error is the answer."""
        hall.load()
        ticket = ask(hall, "code", "creative", LAST)
        for _ in range(3):
            fail(hall, ticket)

        assert kinds(ticket) == [*["Granted", "FellBack"] * 2, "Granted", "Ended"]
        assert hall.dispatcher.counts()["running"] == 0

    def test_after_text_nobody_takes_over(self, hall):
        """Two voices in one answer would be worse than a part."""
        worker = hall.load()
        ticket = ask(hall, "code", LAST)
        worker.say(text(ticket))
        fail(hall, ticket)

        assert kinds(ticket) == ["Granted", "Delta", "Ended"]

    def test_an_empty_piece_is_no_text(self, hall):
        """Nothing was delivered."""
        worker = hall.load()
        ticket = ask(hall, "code", LAST)
        worker.say(text(ticket, words=""))
        fail(hall, ticket)

        assert kinds(ticket)[-1] == "Granted"

    def test_late_text_of_the_failed_attempt_is_not_heard(self, hall):
        """Only the one that answers speaks."""
        worker = hall.load()
        ticket = ask(hall, "code", LAST)
        late = text(ticket)
        fail(hall, ticket)
        heard(ticket)
        worker.say(late, text(ticket, words="fresh"))
        hall.settle()

        assert [message.text for message in heard(ticket)] == ["fresh"]

    @pytest.mark.parametrize(
        ("code", "facts"),
        [("context_too_long", {"prompt_tokens": 9, "context_tokens": 5}), ("cancelled", {})],
    )
    def test_what_is_not_the_agents_fault_is_told_as_it_is(self, hall, code, facts):
        """And no breaker hears of it."""
        hall.load()
        ticket = ask(hall, "code", LAST)
        fail(hall, ticket, code, **facts)

        assert error_of(ticket).code == code
        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["failures"], seen["in_flight"]) == (0, 0)

    def test_a_load_that_fails_is_taken_over_by_an_agent_on_another_model(self, make_hall):
        """It need not be loaded if it is there."""
        hall = make_hall(places=2)
        hall.load("b")
        ticket = ask(hall, "code", LAST, models="ab")
        facts = {"model": "a", "reason": "no room"}
        hall.holder("a").say(LoadFailed(model="a", code="load_failed", facts=facts))
        hall.settle()

        assert kinds(ticket) == ["FellBack", "Granted"]

    def test_a_model_that_is_not_here_is_not_asked_for_twice(self, hall):
        """The same file would be missing again."""
        ticket = ask(hall, "code", LAST, models=["missing", "missing"])

        assert error_of(ticket).code == "weights_missing"
        assert kinds(ask(hall, "code", LAST, models=["missing", "a"])) == ["FellBack"]

    def test_a_worker_that_dies_before_any_text_costs_nothing_but_time(self, hall):
        """Its requests go on with the next agent, on a new worker, before those who wait."""
        worker = hall.load(slots=1)
        first, second = ask(hall, "code", LAST), ask(hall, "code", LAST)
        worker.exit(-9)
        hall.settle()
        hall.holder("a").has_loaded(slots=1)
        hall.settle()

        assert kinds(first) == ["Granted", "FellBack", "Granted"]
        assert heard(second) == []

    def test_who_leaves_while_another_takes_over_is_gone(self, hall):
        """No slot stays taken."""
        hall.load(slots=1)
        ticket = ask(hall, "code", LAST)
        fail(hall, ticket)
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.holder("a").say(done(ticket))
        hall.settle()

        assert kinds(ticket)[-1] == "Ended"
        assert hall.dispatcher.counts()["running"] == 0
        assert hall.dispatcher._desk.tickets == {}


class TestBreakers:
    def test_three_failures_pause_an_agent_and_another_answers(self, hall):
        """The fourth request does not wait for a failure."""
        hall.load()
        for _ in range(3):
            ticket = ask(hall, "code", LAST)
            fail(hall, ticket)
            hall.holder("a").say(done(ticket))
            hall.settle()
        assert state(hall, "generate:code") is BreakerState.OPEN

        ticket = ask(hall, "code", LAST)

        said, granted = heard(ticket)
        assert (said.error.code, said.error.cause) == ("circuit_open", "generation_failed")
        assert isinstance(granted, Granted)

    def test_a_pause_ends_with_a_trial(self, hall):
        """One success and it is healthy again."""
        hall.load()
        for _ in range(3):
            fail(hall, ask(hall, "code"))
        hall.pass_time(31.0)
        trial, other = ask(hall, "code"), ask(hall, "code")
        assert kinds(trial) == ["Granted"]
        assert error_of(other).code == "circuit_open"

        hall.holder("a").say(done(trial))
        hall.settle()

        assert state(hall, "generate:code") is BreakerState.CLOSED

    def test_the_last_resort_is_never_refused_by_a_breaker(self, hall):
        """It may only fail honestly."""
        hall.load()
        for _ in range(4):
            fail(hall, ask(hall, LAST))
        assert state(hall, f"generate:{LAST}") is BreakerState.OPEN

        assert kinds(ask(hall, LAST)) == ["Granted"]

    def test_one_request_has_one_vote(self, hall):
        """The same words failing again and again pause nobody."""
        hall.load()
        for _ in range(5):
            fail(hall, ask(hall, "code", content="the same"))

        assert state(hall, "generate:code") is BreakerState.CLOSED

    def test_one_death_is_one_failure_of_an_agent(self, hall):
        """However many of its answers it took along."""
        worker = hall.load(slots=4)
        for _ in range(4):
            ask(hall, "code")
        worker.exit(-9)
        hall.settle()

        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["state"], seen["consecutive"]) == ("closed", 1)

    @pytest.mark.parametrize("leave", ["cancel", "drain"])
    def test_who_leaves_is_not_counted(self, hall, leave):
        """Neither success nor failure, and the permit is back."""
        hall.load()
        ticket = ask(hall, "code")
        if leave == "cancel":
            hall.dispatcher.cancel(ticket.request_id)
            hall.settle()
        else:
            hall.dispatcher.shutdown(0.0)

        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["admitted"], seen["ignored"], seen["in_flight"]) == (1, 1, 0)

    def test_loads_that_fail_pause_the_model_but_not_the_last_resort(self, make_hall):
        """Others are told when to come back."""
        hall = make_hall(places=2)
        for _ in range(3):
            ask(hall, "code")
            facts = {"model": "a", "reason": "no"}
            hall.holder("a").say(LoadFailed(model="a", code="load_failed", facts=facts))
            hall.settle()
        assert state(hall, "load:a") is BreakerState.OPEN
        works = len(hall.works)

        refused = ask(hall, "code")
        error = error_of(refused)
        assert error.code == "circuit_open"
        assert error.facts["retry_after_s"] == pytest.approx(30.0)
        assert len(hall.works) == works

        ask(hall, LAST)
        assert len(hall.works) == works + 1

    def test_answers_that_are_slow_pause_an_agent(self, hall):
        """From the grant to the first text; ten of them are enough to know."""
        worker = hall.load(slots=16)
        tickets = [ask(hall, "code") for _ in range(10)]
        hall.clock.advance(46.0)
        for ticket in tickets:
            worker.say(text(ticket), done(ticket))
        hall.settle()

        assert error_of(ask(hall, "code")).cause == "slow"

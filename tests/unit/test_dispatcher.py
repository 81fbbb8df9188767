"""The dispatcher's thread: who gets to run, when loads happen, what makes room."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orion.dispatcher import Granted, Loading
from orion.protocol import (
    Delta,
    Exit,
    Failed,
    Generate,
    Load,
    LoadFailed,
    LoadProgress,
    Started,
)
from tests.fakes.hall import RUNTIME, done, error_of, heard, job, kinds, plan, stood, ticket_of


class TestAnswer:
    def test_the_way_of_a_cold_request(self, hall):
        """A worker, a load, a grant, text, the end."""
        ticket = hall.ask()
        worker = hall.works[0]
        assert (worker.runtime, worker.sent) == (RUNTIME, [plan("a").load])
        hall.clock.advance(3.0)
        worker.has_loaded()
        hall.settle()

        sent = replace(ticket.attempt.generate, request_id="r1.0", deadline_s=1093.0)
        assert worker.sent[1:] == [sent]
        assert heard(ticket) == [
            Granted(queue_s=0.0, load_s=3.0, cold=True, runtime="fake", variant="v1")
        ]
        started = Started(request_id="r1.0", prompt_tokens=1)
        delta = Delta(request_id="r1.0", seq=0, text="hi", num_tokens=1)
        worker.say(started, delta, done("r1"))
        hall.settle()

        assert heard(ticket) == [started, delta, done("r1")]
        assert hall.dispatcher.counts()["running"] == 0
        assert hall.dispatcher.tally.loads == 1

    def test_a_warm_request_waits_for_nothing(self, hall):
        """No load in its time."""
        hall.load()
        hall.clock.advance(5.0)

        assert heard(hall.ask()) == [
            Granted(queue_s=0.0, load_s=0.0, cold=False, runtime="fake", variant="v1")
        ]

    def test_who_joins_a_load_late_waits_for_the_rest_of_it(self, hall):
        """Each caller's wait is its own; two callers share one load."""
        first = hall.ask()
        hall.clock.advance(4.0)
        second = hall.ask()
        hall.clock.advance(1.0)
        hall.works[0].has_loaded()
        hall.settle()

        assert len(hall.works) == 1
        assert [ticket.get(0).load_s for ticket in (first, second)] == [5.0, 1.0]

    def test_who_waits_for_a_slot_waits_in_the_queue(self, hall):
        """That is not a load."""
        worker = hall.load(slots=1)
        first, second = hall.ask(), hall.ask()
        assert stood(second) == [(1, None)]
        hall.clock.advance(2.0)
        worker.say(done(first))
        hall.settle()

        granted = second.get(0)
        assert (granted.queue_s, granted.load_s, granted.cold) == (2.0, 0.0, False)

    def test_progress_is_told_to_those_who_wait_for_it(self, make_hall):
        """And to nobody else."""
        hall = make_hall(places=2)
        first, second = hall.ask("a"), hall.ask("b")

        hall.works[1].say(LoadProgress(phase="verifying", ratio=0.5))
        hall.settle()

        assert heard(first) == []
        assert heard(second) == [Loading(phase="verifying", ratio=0.5)]

    def test_a_failed_answer_frees_its_slot(self, hall):
        """The error keeps its code; the worker stays."""
        worker = hall.load(slots=1)
        first, second = hall.ask(), hall.ask()

        facts = {"prompt_tokens": 9, "context_tokens": 5}
        worker.say(Failed(request_id=job(first), code="context_too_long", facts=facts))
        hall.settle()

        assert error_of(first).code == "context_too_long"
        assert kinds(second) == ["Granted"]

    def test_a_ticket_may_only_ask_that_the_model_be_there(self, hall):
        """It takes no slot."""
        ticket = hall.ask(resident_only=True)
        hall.works[0].has_loaded(slots=1)
        hall.settle()

        assert kinds(ticket) == ["Granted"]
        assert hall.works[0].received(Generate) == []
        assert hall.dispatcher.counts()["running"] == 0

    def test_an_id_that_is_under_way_is_refused(self, hall):
        """Two requests of one name would take each other's answers."""
        worker = hall.load()
        first = hall.ask()
        again = ticket_of(first.request_id, "a", first.attempt.generate)
        hall.dispatcher.submit(again)
        hall.settle()

        assert error_of(again).code == "invalid_query"
        worker.say(done(first))
        hall.settle()
        assert kinds(first) == ["Granted", "Done"]
        assert hall.dispatcher.counts()["running"] == 0

    def test_a_full_queue_refuses_with_a_time(self, hall):
        """Two run, two wait."""
        hall.load()
        tickets = [hall.ask() for _ in range(5)]

        error = error_of(tickets[-1])
        assert error.code == "overloaded"
        assert error.facts["retry_after_s"] >= 1.0
        assert hall.dispatcher.counts() == {
            "running": 2, "waiting": 2, "capacity": 2, "max": 2, "peak": 4,
        }  # fmt: skip


class TestLoadFailure:
    def test_a_worker_that_cannot_load_is_let_go(self, hall):
        """The error keeps its code and facts; the next request tries again."""
        ticket = hall.ask()
        facts = {"model": "a", "file": "f", "expected": 1, "got": 2}
        hall.works[0].say(LoadFailed(model="a", code="bad_weights", facts=facts))
        hall.settle()

        assert error_of(ticket).code == "bad_weights"
        assert hall.works[0].received(Exit)
        assert hall.dispatcher.last_load_error.facts == facts
        assert list(hall.dispatcher.load_errors) == ["a"]
        hall.load()
        assert len(hall.works) == 2
        assert hall.dispatcher.last_load_error is None
        assert hall.dispatcher.load_errors == {}

    def test_a_worker_that_cannot_start_still_names_the_model(self, hall):
        """It did not know it yet."""
        ticket = hall.ask()
        facts = {"model": "", "reason": "ImportError: x"}
        hall.works[0].say(LoadFailed(model="", code="load_failed", facts=facts))
        hall.settle()

        assert error_of(ticket).public_message == (
            "The model a could not be loaded: ImportError: x."
        )

    def test_a_worker_that_dies_while_loading_fails_the_load(self, hall):
        """With its exit code; those who run elsewhere are untouched."""
        ticket = hall.ask()
        hall.works[0].exit(-9, "Killed")
        hall.settle()

        assert "exit code -9" in error_of(ticket).public_message
        assert "worker.died" in hall.log.lines

    def test_a_load_without_progress_is_given_up_and_killed(self, hall):
        """Sixty seconds after the last sign of life."""
        hall.works.polite = False
        ticket = hall.ask()
        hall.pass_time(59.0)
        hall.works[0].say(LoadProgress(phase="importing"))
        hall.settle()
        hall.pass_time(60.0)
        assert not hall.works[0].killed.is_set()

        hall.pass_time(1.0)

        error = error_of(ticket)
        assert error.code == "load_failed"
        assert error.reason == "it made no progress for 60 s"
        assert hall.works[0].terminated.is_set()
        hall.pass_time(0.4)
        assert hall.works[0].killed.is_set()
        hall.works[0].has_loaded()
        hall.works[0].exit(-9)
        hall.settle()
        assert hall.dispatcher.records() == []
        assert hall.dispatcher.tally.loads == 0

    def test_no_process_to_be_had_is_a_failed_load(self, hall):
        """The reason is the system's."""
        hall.works.refusing = OSError(11, "Resource temporarily unavailable")

        error = error_of(hall.ask())

        assert error.code == "load_failed"
        assert "Resource temporarily unavailable" in error.public_message

    def test_any_surprise_at_the_start_is_a_failed_load(self, hall):
        """Nobody waits for ever because of it."""
        hall.works.refusing = RuntimeError("can't start new thread")

        error = error_of(hall.ask())

        assert error.public_message == (
            "The model a could not be loaded: its load could not begin (RuntimeError)."
        )

    @pytest.mark.parametrize(
        ("model", "code"), [("missing", "weights_missing"), ("odd", "load_failed")]
    )
    def test_a_model_that_cannot_load_here_evicts_nothing(self, hall, model, code):
        """What is resident goes on answering."""
        worker = hall.load("a")

        assert error_of(hall.ask(model)).code == code
        assert worker.received(Exit) == []
        assert kinds(hall.ask("a")) == ["Granted"]
        assert list(hall.dispatcher.load_errors) == [model]


class TestEviction:
    def test_the_old_model_is_gone_before_the_new_one_loads(self, hall):
        """Memory is given back first."""
        hall.works.polite = False
        old = hall.load("a")
        hall.ask("b")

        assert isinstance(old.sent[-1], Exit)
        assert len(hall.works) == 1
        old.exit(0)
        hall.settle()
        assert hall.works[1].received(Load)[0].model == "b"
        assert "worker.died" not in hall.log.lines

    def test_a_worker_that_does_not_leave_is_killed(self, hall):
        """Two seconds after it was asked."""
        hall.works.polite = False
        old = hall.load("a")
        hall.ask("b")
        hall.pass_time(1.9)
        assert not old.killed.is_set()

        hall.pass_time(0.2)

        assert old.killed.is_set()

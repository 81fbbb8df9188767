"""How requests, workers and the dispatcher itself come to their end."""

from __future__ import annotations

import threading

from orion.protocol import Delta, Generate, Loaded, LoadFailed, LoadProgress, Stop
from tests.fakes.hall import LIMIT_S, done, error_of, heard, job, kinds, ticket_of


class TestDeadline:
    def test_an_answer_that_takes_too_long_is_ended(self, hall):
        """The caller hears at once; the worker is told to stop and keeps its model."""
        worker = hall.load()
        ticket = hall.ask()
        worker.say(Delta(request_id=job(ticket), seq=0, text="so", num_tokens=1))
        hall.pass_time(90.5)

        error = error_of(ticket)
        assert (error.code, error.phase, error.limit_s) == ("deadline", "answering", 90.0)
        assert worker.sent[-1] == Stop(request_id=job(ticket))
        worker.say(
            Delta(request_id=job(ticket), seq=1, text="late", num_tokens=1),
            done(ticket),
        )
        hall.settle()
        assert heard(ticket) == []
        assert hall.dispatcher.counts()["running"] == 0

    def test_a_worker_that_ignores_a_stop_is_killed(self, hall):
        """Some seconds later; its other answers end with it."""
        worker = hall.load()
        first, second = hall.ask(), hall.ask()
        hall.dispatcher.cancel(first.request_id)
        hall.settle()
        hall.pass_time(4.9)
        assert not worker.terminated.is_set()
        worker.polite = False

        hall.pass_time(0.2)
        third = hall.ask()
        assert not worker.terminated.is_set()
        hall.pass_time(0.3)
        assert worker.terminated.is_set()
        assert not worker.killed.is_set()
        hall.pass_time(0.4)

        assert worker.killed.is_set()
        assert hall.log.lines.count("worker.ignores_stop") == 1
        assert heard(third) == []
        worker.exit(-9)
        hall.settle()
        assert error_of(first).code == "cancelled"
        assert error_of(second).code == "worker_died"
        hall.works[1].has_loaded()
        hall.settle()
        assert kinds(third) == ["Granted"]

    def test_deadlines_are_kept_while_there_is_much_to_do(self, hall):
        """A tick does not wait for an empty inbox."""
        worker = hall.load()
        ticket = hall.ask()
        hall.clock.advance(91.0)
        for _ in range(200):
            worker.say(LoadProgress(phase="noise"))
        hall.settle()

        assert error_of(ticket).code == "deadline"


class TestCancel:
    def test_who_waits_is_ended_at_once(self, hall):
        """And is out of the queue."""
        ticket = hall.ask()
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()

        assert error_of(ticket).code == "cancelled"
        assert hall.dispatcher.counts()["waiting"] == 0
        hall.works[0].has_loaded()
        hall.settle()
        assert hall.works[0].received(Generate) == []

    def test_a_cancel_right_after_the_request_is_not_lost(self, hall):
        """Also when the dispatcher has seen neither."""
        hall.load()
        ticket = ticket_of("x", "a", hall.ask().attempt.generate)
        hall.dispatcher.submit(ticket)
        hall.dispatcher.cancel("x")
        hall.settle()

        assert error_of(ticket).code == "cancelled"

    def test_who_runs_is_ended_and_the_worker_told(self, hall):
        """The slot is free when the worker says so."""
        worker = hall.load(slots=1)
        first, second = hall.ask(), hall.ask()
        hall.dispatcher.cancel(first.request_id)
        hall.dispatcher.cancel(first.request_id)
        hall.settle()

        assert kinds(first) == ["Granted", "Ended"]
        assert worker.received(Stop) == [Stop(request_id=job(first))]
        assert heard(second) == []
        worker.say(done(first))
        hall.settle()
        assert kinds(second) == ["Granted"]

    def test_a_stranger_is_nobody(self, hall):
        """Nothing happens."""
        hall.dispatcher.cancel("stranger")
        hall.settle()

        assert hall.log.lines == []


class TestDeath:
    def test_everyone_on_a_dead_worker_hears_of_it(self, hall):
        """Those who wait get a new one."""
        worker = hall.load(slots=1)
        first, second = hall.ask(), hall.ask()
        worker.exit(-11, "Segmentation fault")
        hall.settle()

        error = error_of(first)
        assert (error.code, error.exit_code) == ("worker_died", -11)
        assert heard(second) == []
        hall.works[1].has_loaded()
        hall.settle()
        assert kinds(second) == ["Granted"]

    def test_frames_of_the_dead_and_of_strangers_are_ignored(self, hall):
        """They come late, or twice."""
        worker = hall.load()
        ticket = hall.ask()
        worker.say(done("nobody"), Delta(request_id="nobody", seq=0, text="x", num_tokens=1))
        worker.say(Loaded(model="a", slots=9, context_tokens=1, memory_bytes=1, seconds=1.0))
        worker.exit(1)
        worker.say(
            done(ticket),
            Delta(request_id=job(ticket), seq=0, text="x", num_tokens=1),
        )
        worker._on_exit(worker.id, 1, "")
        hall.settle()

        assert error_of(ticket).code == "worker_died"
        assert hall.dispatcher.records() == []
        assert "dispatcher.event_failed" not in hall.log.lines

    def test_a_model_without_slots_has_one(self, hall):
        """Whatever a runtime says, someone must be able to ask."""
        hall.load(slots=0)

        assert kinds(hall.ask()) == ["Granted"]

    def test_progress_of_a_load_that_was_given_up_is_told_to_nobody(self, hall):
        """The worker has not heard yet."""
        hall.works.polite = False
        ticket = hall.ask()
        worker = hall.works[0]
        worker.say(LoadFailed(model="a", code="load_failed", facts={}))
        worker.say(LoadProgress(phase="completing", ratio=1.0))
        hall.settle()

        assert kinds(ticket) == ["Ended"]
        worker.exit(0)


class TestShutdown:
    def test_those_who_wait_are_sent_away_and_those_who_run_may_end(self, hall):
        """Nobody new is let in."""
        worker = hall.load(slots=1)
        runs, waits = hall.ask(), hall.ask()
        closer = threading.Thread(target=hall.dispatcher.shutdown, args=(5.0,), daemon=True)
        closer.start()
        while not hall.dispatcher.draining:
            hall.settle()
        hall.settle()

        assert error_of(waits).code == "shutting_down"
        assert error_of(hall.ask()).code == "shutting_down"
        assert kinds(runs) == ["Granted"]
        worker.say(done(runs))
        closer.join(LIMIT_S)
        assert not closer.is_alive()
        assert kinds(runs) == ["Done"]
        assert worker.closed.is_set()

    def test_without_grace_answers_are_cut_with_a_reason(self, hall):
        """And the workers go."""
        worker = hall.load()
        ticket = hall.ask()

        hall.dispatcher.shutdown(0.0)

        assert error_of(ticket).code == "shutting_down"
        assert worker.gone
        assert hall.dispatcher.records() == []

    def test_a_worker_that_stays_is_killed(self, hall):
        """Also when others keep talking."""
        hall.works.polite = False
        worker = hall.load()
        closer = threading.Thread(target=hall.dispatcher.shutdown, args=(0.0,), daemon=True)
        closer.start()
        assert worker.closed.wait(LIMIT_S)
        hall.clock.advance(2.5)
        while not worker.killed.wait(0.001):
            worker.say(LoadProgress(phase="noise"))
        worker.exit(-9)
        closer.join(LIMIT_S)

        assert not closer.is_alive()

    def test_after_the_end_everyone_hears_so_at_once(self, hall):
        """Twice is as good as once."""
        hall.load()
        hall.dispatcher.shutdown(0.0)
        hall.dispatcher.shutdown(0.0)
        ticket = ticket_of("late", "a")
        hall.dispatcher.submit(ticket)

        assert error_of(ticket).code == "shutting_down"
        assert hall.dispatcher.unload("a", LIMIT_S) is False
        hall.dispatcher.cancel("late")

    def test_no_spare_is_started_while_it_ends(self, hall):
        """It would outlive the engine."""
        hall.dispatcher.keep_spares()
        hall.works.polite = False
        hall.load()
        closer = threading.Thread(target=hall.dispatcher.shutdown, args=(0.0,), daemon=True)
        closer.start()
        assert hall.works[0].closed.wait(LIMIT_S)
        hall.clock.advance(1.0)
        hall.works[0].exit(0)
        closer.join(LIMIT_S)

        assert len(hall.works) == 1

    def test_a_request_that_comes_in_the_last_moment_hears_of_it(self, hall):
        """Nothing is left unread in the inbox."""
        hold = threading.Event()
        hall.dispatcher._inbox.put(lambda: hold.wait(LIMIT_S))
        closer = threading.Thread(target=hall.dispatcher.shutdown, args=(0.0,), daemon=True)
        closer.start()
        pause = threading.Event()
        while hall.dispatcher._inbox.qsize() < 2:
            pause.wait(0.001)
        ticket = ticket_of("late", "a")
        hall.dispatcher.submit(ticket)

        hold.set()
        closer.join(LIMIT_S)

        assert error_of(ticket).code == "shutting_down"


class TestSurprise:
    def test_a_request_that_cannot_be_taken_hears_so(self, hall):
        """A bug must not leave a caller waiting."""
        ticket = ticket_of([], "a")
        hall.dispatcher.submit(ticket)
        hall.settle()

        assert error_of(ticket).code == "orion"
        assert "dispatcher.event_failed" in hall.log.lines

    def test_one_bad_event_does_not_stop_the_others(self, hall):
        """It is logged; the next one is served."""
        hall.dispatcher._inbox.put({}.popitem)
        hall.load()

        assert "dispatcher.event_failed" in hall.log.lines
        assert kinds(hall.ask()) == ["Granted"]

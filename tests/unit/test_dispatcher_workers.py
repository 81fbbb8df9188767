"""Workers kept warm, and models let go."""

from __future__ import annotations

import threading

import pytest

from orion.dispatcher import WorkerState
from orion.protocol import Exit, Load, LoadFailed
from tests.fakes.hall import LIMIT_S, RUNTIME, Hall, done, kinds


class TestSpares:
    def test_a_spare_is_kept_warm_and_used(self, hall):
        """Then another takes its seat, after the load."""
        hall.dispatcher.keep_spares()
        hall.pass_time(0.2)
        spare = hall.works[0]
        assert hall.states() == [WorkerState.STARTING]
        spare.is_ready()
        hall.pass_time(0.2)
        assert hall.states() == [WorkerState.SPARE]

        hall.ask()
        hall.pass_time(0.2)
        assert spare.received(Load)
        assert len(hall.works) == 1
        spare.has_loaded()
        hall.pass_time(0.2)

        assert hall.states() == [WorkerState.READY, WorkerState.STARTING]

    def test_no_spare_before_it_is_wanted(self, hall):
        """The first load has the machine to itself."""
        hall.pass_time(0.2)

        assert len(hall.works) == 0

    def test_a_spare_of_another_kind_is_not_used(self, hall):
        """It has imported the wrong library."""
        hall.dispatcher.keep_spares()
        hall.pass_time(0.2)

        hall.ask("foreign")

        assert [worker.runtime for worker in hall.works.workers] == [RUNTIME, "other:Runtime"]

    def test_spares_that_die_are_tried_again_after_growing_pauses(self, hall):
        """The machine is not kept busy with what cannot work, and a repair is noticed."""
        hall.dispatcher.keep_spares()
        counts = []
        for _ in range(20):
            hall.pass_time(1.0)
            counts.append(len(hall.works))
            for worker in hall.works.workers:
                worker.say(LoadFailed(model="", code="load_failed", facts={"reason": "no"}))
                worker.exit(3)

        assert counts[0] == 1
        assert counts[-1] == 5
        hall.settle()
        hall.pass_time(60.0)
        hall.works.workers[-1].is_ready()
        hall.settle()
        assert hall.states() == [WorkerState.SPARE]

    @pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), RuntimeError("no")])
    def test_a_spare_that_cannot_be_started_stops_nothing(self, hall, error):
        """The dispatcher lives, and answers when it can."""
        hall.works.refusing = error
        hall.dispatcher.keep_spares()
        for _ in range(4):
            hall.pass_time(0.2)

        hall.works.refusing = None
        hall.load()
        assert kinds(hall.ask()) == ["Granted"]


class TestUnload:
    def unload(self, hall: Hall, model: str = "a", timeout_s: float = LIMIT_S):
        """Begin to unload on a thread of its own."""
        result: list[bool] = []
        thread = threading.Thread(
            target=lambda: result.append(hall.dispatcher.unload(model, timeout_s)), daemon=True
        )
        thread.start()
        return thread, result

    def test_an_idle_model_goes(self, hall):
        """True once its process has ended."""
        hall.load()

        assert hall.dispatcher.unload("a", LIMIT_S) is True
        assert hall.dispatcher.records() == []

    def test_who_waits_for_another_model_waits_on(self, make_hall):
        """Each hears of its own."""
        hall = make_hall(places=2)
        hall.load("a")
        hall.load("b")
        hall.ask("b")
        thread, result = self.unload(hall, "b")
        while not hall.dispatcher._desk.unload_waiters:
            hall.settle()

        assert hall.dispatcher.unload("a", LIMIT_S) is True
        assert result == []
        hall.holder("b").say(done("r3"))
        thread.join(LIMIT_S)
        assert result == [True]

    def test_what_is_not_there_cannot_go(self, hall):
        """Nor what still loads."""
        hall.ask("a")

        assert hall.dispatcher.unload("a", LIMIT_S) is False
        assert hall.dispatcher.unload("b", LIMIT_S) is False

    def test_a_busy_model_goes_after_its_last_answer(self, hall):
        """Two who ask wait together."""
        worker = hall.load()
        ticket = hall.ask()
        first, second = self.unload(hall), self.unload(hall)
        while len(hall.dispatcher._desk.unload_waiters) < 2:
            hall.settle()
        assert worker.received(Exit) == []

        worker.say(done(ticket))
        for thread, _ in (first, second):
            thread.join(LIMIT_S)

        assert first[1] == second[1] == [True]
        assert kinds(ticket) == ["Granted", "Done"]

    def test_a_model_that_does_not_end_in_time_is_not_said_to_have(self, hall):
        """False is the truth."""
        hall.load()
        hall.ask()

        assert hall.dispatcher.unload("a", 0.01) is False

    def test_a_dispatcher_that_is_busy_is_not_waited_for_longer_than_asked(self, hall):
        """No foreign exception, no hang."""
        hold = threading.Event()
        hall.load()
        hall.dispatcher._inbox.put(lambda: hold.wait(LIMIT_S))

        assert hall.dispatcher.unload("a", 0.01) is False
        hold.set()


class TestGuess:
    def test_a_guess_begins_with_the_prompt_it_will_be_asked_with(self, hall):
        """A load that somebody waits for does not stop for that."""
        hall.dispatcher.prefetch("b", begin="You write code.", wait_s=LIMIT_S)
        assert hall.holder("b").received(Load)[-1].begin == "You write code."

        hall.ask("a")

        assert hall.holder("a").received(Load)[-1].begin == ""

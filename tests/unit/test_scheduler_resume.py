"""Requests that go on elsewhere, and models that are brought back."""

from __future__ import annotations

import pytest

from orion.scheduling import Scheduler, Waiter
from tests.fakes.effects import Recorder, ask, make_scheduler, resident


@pytest.fixture
def effects() -> Recorder:
    return Recorder()


@pytest.fixture
def scheduler(effects: Recorder) -> Scheduler:
    return make_scheduler(effects)


class TestTakingOver:
    def test_who_goes_on_elsewhere_is_before_all_that_wait(self, scheduler, effects):
        """Its place was paid for: no new turn in the queue."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", "r2")
        effects.take()

        scheduler.on_handover(Waiter("r1", "a"), "a")

        assert effects.take() == [("grant", "r1", "a")]
        assert scheduler.waiting_for("a") == ["r2"]

    def test_who_goes_on_is_never_refused(self, scheduler, effects):
        """However full the queue is."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r0", "r1", "r2", "r3")
        effects.take()

        scheduler.on_gone("a")
        scheduler.on_resume(Waiter("r0", "b"))

        assert effects.take() == [("load", "a")]
        assert scheduler.waiting(resuming=True) == ["r0"]

    def test_its_model_is_the_next_to_get_a_place(self, effects):
        """Before those that wait, whether or not it is one of them; first come, first served."""
        scheduler = make_scheduler(effects, queue_max=8)
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        ask(scheduler, "r3", model="c")
        scheduler.on_resume(Waiter("r0", "c"))
        assert list(scheduler.pending) == ["c", "b"]
        scheduler.on_resume(Waiter("r00", "d"))

        assert list(scheduler.pending) == ["c", "d", "b"]

    def test_it_runs_before_those_that_wait_for_the_same_model(self, scheduler, effects):
        """In the order in which they resumed."""
        ask(scheduler, "r1")
        scheduler.on_resume(Waiter("r2", "a"))
        scheduler.on_resume(Waiter("r3", "a"))

        scheduler.on_loaded("a", 3)

        assert effects.granted() == ["r2", "r3", "r1"]

    def test_the_slot_it_leaves_goes_to_the_next_in_line(self, scheduler, effects):
        """The old model has one answer less to give."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", "r2")
        effects.take()

        scheduler.on_handover(Waiter("r1", "b"), "a")

        assert effects.take() == [("grant", "r2", "a")]
        assert scheduler.waiting_for("b") == ["r1"]

    def test_the_place_it_leaves_is_given_to_its_new_model(self, scheduler, effects):
        """Also where others have waited for that place."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="c")
        effects.take()

        scheduler.on_handover(Waiter("r1", "b"), "a")
        scheduler.on_gone("a")

        assert effects.take() == [("unload", "a"), ("load", "b")]

    def test_also_where_its_new_model_has_waited_behind_others(self, effects):
        """Its turn has come with it."""
        scheduler = make_scheduler(effects, queue_max=8)
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="c")
        ask(scheduler, "r3", model="b")
        effects.take()

        scheduler.on_handover(Waiter("r1", "b"), "a")
        scheduler.on_gone("a")

        assert effects.take() == [("unload", "a"), ("load", "b")]

    def test_it_may_give_up_too(self, scheduler, effects):
        """And is then nowhere."""
        scheduler.on_resume(Waiter("r0", "b"))

        assert scheduler.on_leave("r0")
        assert not scheduler.on_leave("r0")
        assert scheduler.num_waiting == 0


class TestBringingBack:
    def test_a_lost_model_is_loaded_where_there_is_room(self, scheduler, effects):
        """Once."""
        assert scheduler.on_wanted("a")
        assert scheduler.on_wanted("a")
        assert effects.take() == [("load", "a")]

    def test_not_while_others_wait_for_the_place(self, effects):
        """A person comes first."""
        scheduler = make_scheduler(effects, places=2)
        effects.sizes, effects.free = {"b": 8, "c": 8}, 10
        resident(scheduler, effects, "b")
        effects.free = 2
        ask(scheduler, "r1", model="b")
        ask(scheduler, "r2", model="c")
        effects.take()

        assert scheduler.on_wanted("a")
        assert effects.take() == []

    def test_not_in_the_place_of_another(self, scheduler, effects):
        """Nobody is evicted for what nobody waits for."""
        resident(scheduler, effects, "b")

        assert not scheduler.on_wanted("a")
        assert effects.take() == []

    def test_not_where_it_would_never_fit(self, scheduler, effects):
        """It is not tried again either."""
        effects.sizes, effects.total = {"a": 20}, 10

        assert not scheduler.on_wanted("a")
        assert effects.take() == []

    def test_not_while_its_last_worker_still_ends(self, effects):
        """One model has one worker; it is tried again later."""
        scheduler = make_scheduler(effects, places=2)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="b")
        effects.take()

        assert scheduler.on_wanted("a")
        assert effects.take() == []

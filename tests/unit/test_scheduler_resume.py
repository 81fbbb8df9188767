"""Requests that go on elsewhere, and models that are brought back."""

from __future__ import annotations

import pytest

from orion.errors import AgentLoadError
from orion.scheduling import Scheduler
from tests.fakes.effects import Recorder, resident


@pytest.fixture
def effects() -> Recorder:
    return Recorder()


@pytest.fixture
def scheduler(effects: Recorder) -> Scheduler:
    """One place, two slots per model, room for two more."""
    return Scheduler(effects, places=1, queue_max=2, default_slots=2)


class TestTakingOver:
    def test_who_goes_on_elsewhere_is_before_all_that_wait(self, scheduler, effects):
        """Its place was paid for: no new turn in the queue."""
        resident(scheduler, effects, "a", slots=1)
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "a")
        effects.take()

        scheduler.on_handover("r1", "a", "a")

        assert effects.take() == [("grant", "r1", "a")]
        assert scheduler.position("r2") == 1

    def test_who_goes_on_is_never_refused(self, scheduler, effects):
        """However full the queue is."""
        resident(scheduler, effects, "a", slots=1)
        for number in range(4):
            scheduler.on_request(f"r{number}", "a")
        effects.take()
        scheduler.on_gone("a")
        scheduler.on_resume("r0", "b")

        assert ("load", "a") in effects.take()
        assert scheduler.position("r0") == 1

    def test_it_may_give_up_too(self, scheduler, effects):
        """And is then nowhere."""
        scheduler.on_resume("r0", "b")

        assert scheduler.on_leave("r0")
        assert not scheduler.on_leave("r0")
        assert scheduler.position("r0") is None

    def test_two_that_may_not_share_a_worker_do_not(self, scheduler, effects):
        """And nobody overtakes the one that waits to be let in."""
        effects.shy = {"r1", "r2"}
        resident(scheduler, effects, "a", slots=3)
        for number in (1, 2, 3):
            scheduler.on_request(f"r{number}", "a")
        assert effects.take() == [("grant", "r1", "a")]

        effects.running["a"].discard("r1")
        scheduler.on_release("a")

        assert effects.take() == [("grant", "r2", "a"), ("grant", "r3", "a")]


class TestBringingBack:
    def test_a_lost_model_is_loaded_where_there_is_room(self, scheduler, effects):
        """Once."""
        assert scheduler.on_wanted("a")
        assert scheduler.on_wanted("a")
        assert effects.take() == [("load", "a")]

    def test_not_while_others_wait_for_the_place(self, scheduler, effects):
        """A person comes first."""
        scheduler.on_request("r1", "b")
        scheduler.on_load_failed("b", AgentLoadError(model="b", reason="no"))
        effects.take()
        scheduler.resuming["r2"] = "b"

        assert scheduler.on_wanted("a")
        assert effects.take() == []

    def test_not_in_the_place_of_another(self, scheduler, effects):
        """Nobody is evicted for what nobody waits for."""
        resident(scheduler, effects, "b")

        assert not scheduler.on_wanted("a")
        assert effects.take() == []

"""Who runs when: the decisions, recorded as tuples."""

from __future__ import annotations

import pytest

from orion.errors import AgentLoadError, OverloadedError
from orion.scheduling import Scheduler
from tests.fakes.effects import Recorder, resident


@pytest.fixture
def effects() -> Recorder:
    return Recorder()


@pytest.fixture
def scheduler(effects: Recorder) -> Scheduler:
    """One place, two slots per model, room for two more."""
    return Scheduler(effects, places=1, queue_max=2, default_slots=2)


class TestLoading:
    def test_the_first_request_starts_the_load(self, scheduler, effects):
        """Nothing is resident: load, then grant."""
        scheduler.on_request("r1", "a")

        assert effects.take() == [("load", "a")]
        scheduler.on_loaded("a", 2)
        assert effects.take() == [("grant", "r1", "a")]

    def test_two_callers_share_one_load(self, scheduler, effects):
        """A cold model asked for twice is loaded once and both run."""
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "a")
        scheduler.on_loaded("a", 2)

        assert effects.take() == [("load", "a"), ("grant", "r1", "a"), ("grant", "r2", "a")]

    def test_a_failed_load_tells_everyone_who_waited_for_it(self, scheduler, effects):
        """And only them."""
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "b")
        scheduler.on_request("r3", "a")
        effects.take()

        scheduler.on_load_failed("a", AgentLoadError(model="a", reason="no"))

        told = [("refuse", "r1", "load_failed"), ("refuse", "r3", "load_failed")]
        assert effects.take() == [*told, ("load", "b")]

    def test_a_load_goes_on_when_the_one_who_asked_leaves(self, scheduler, effects):
        """The next caller finds the model resident."""
        scheduler.on_request("r1", "a")

        assert scheduler.on_leave("r1") is True
        scheduler.on_loaded("a", 2)
        scheduler.on_request("r2", "a")

        assert effects.take() == [("load", "a"), ("grant", "r2", "a")]

    def test_as_many_models_load_at_once_as_there_are_places(self, effects):
        """Two places, three models: the third waits."""
        scheduler = Scheduler(effects, places=2, queue_max=4, default_slots=1)

        for request_id, model in (("r1", "a"), ("r2", "b"), ("r3", "c")):
            scheduler.on_request(request_id, model)

        assert effects.take() == [("load", "a"), ("load", "b")]
        assert scheduler.position("r3") == 3


class TestSlots:
    def test_a_warm_model_answers_at_once(self, scheduler, effects):
        """Up to its slots."""
        resident(scheduler, effects, "a")

        for request_id in ("r1", "r2", "r3"):
            scheduler.on_request(request_id, "a")

        assert effects.take() == [("grant", "r1", "a"), ("grant", "r2", "a")]
        assert scheduler.running == 2
        assert scheduler.position("r3") == 1
        assert scheduler.position("r1") is None

    def test_a_released_slot_goes_to_the_first_in_line(self, scheduler, effects):
        """First come, first served."""
        resident(scheduler, effects, "a", slots=1)
        for request_id in ("r1", "r2", "r3"):
            scheduler.on_request(request_id, "a")
        effects.take()

        scheduler.on_release("a")

        assert effects.take() == [("grant", "r2", "a")]

    def test_a_release_of_a_model_that_has_gone_changes_nothing(self, scheduler, effects):
        """Its worker died first."""
        scheduler.on_release("a")

        assert effects.take() == []

    def test_someone_who_runs_cannot_leave_the_queue(self, scheduler, effects):
        """Leaving is for those who wait."""
        resident(scheduler, effects, "a")
        scheduler.on_request("r1", "a")

        assert scheduler.on_leave("r1") is False
        assert scheduler.on_leave("nobody") is False


class TestBound:
    def test_a_full_queue_refuses_with_a_time_to_come_back(self, scheduler, effects):
        """Two run, two wait, the fifth is told when to try again."""
        resident(scheduler, effects, "a")
        for number in range(4):
            scheduler.on_request(f"r{number}", "a")
        effects.take()

        scheduler.on_request("late", "a")

        assert effects.take() == [("refuse", "late", "overloaded")]
        error = effects.errors[-1]
        assert isinstance(error, OverloadedError)
        assert error.queue_max == 2
        assert error.retry_after_s >= 1.0

    def test_the_time_to_come_back_follows_the_work(self, scheduler, effects):
        """Slow answers and a long line: a longer wait."""
        resident(scheduler, effects, "a")
        scheduler.service_s = 20.0
        for number in range(5):
            scheduler.on_request(f"r{number}", "a")

        assert effects.errors[-1].facts["retry_after_s"] == 30.0

    def test_no_queue_at_all_still_fills_the_slots(self, effects):
        """`queue_max` counts those who wait beyond what can run."""
        scheduler = Scheduler(effects, places=1, queue_max=0, default_slots=2)

        for number in range(3):
            scheduler.on_request(f"r{number}", "a")

        assert effects.take() == [("load", "a"), ("refuse", "r2", "overloaded")]

    def test_capacity_counts_free_places_and_what_is_resident(self, effects):
        """A model may have fewer slots than was assumed."""
        scheduler = Scheduler(effects, places=2, queue_max=0, default_slots=4)

        assert scheduler.capacity == 8
        resident(scheduler, effects, "a", slots=1)
        assert scheduler.capacity == 5


class TestEviction:
    def test_the_model_unused_for_longest_goes(self, effects):
        """And it is gone before the load begins."""
        scheduler = Scheduler(effects, places=2, queue_max=4, default_slots=1)
        resident(scheduler, effects, "a")
        resident(scheduler, effects, "b")
        scheduler.on_request("again", "a")
        scheduler.on_release("a")
        effects.take()

        scheduler.on_request("r1", "c")

        assert effects.take() == [("unload", "b")]
        scheduler.on_gone("b")
        assert effects.take() == [("load", "c")]

    def test_a_model_in_use_is_never_evicted(self, scheduler, effects):
        """Whoever needs its place waits for the answer to end."""
        resident(scheduler, effects, "a")
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "b")

        assert effects.take() == [("grant", "r1", "a")]
        scheduler.on_release("a")
        assert effects.take() == [("unload", "a")]

    def test_a_busy_model_cannot_starve_who_waits_for_another(self, scheduler, effects):
        """Later requests for the busy model stand behind the one that needs its place."""
        resident(scheduler, effects, "a")
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "b")
        scheduler.on_request("r3", "a")
        effects.take()

        scheduler.on_release("a")
        scheduler.on_gone("a")
        scheduler.on_loaded("b", 1)

        assert effects.take() == [("unload", "a"), ("load", "b"), ("grant", "r2", "b")]
        assert list(scheduler.waiting) == ["r3"]

    def test_when_the_one_who_held_others_back_leaves_they_go_on(self, scheduler, effects):
        """Its claim to the place goes with it."""
        resident(scheduler, effects, "a")
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "b")
        scheduler.on_request("r3", "a")
        effects.take()

        scheduler.on_leave("r2")

        assert effects.take() == [("grant", "r3", "a")]

    def test_one_eviction_at_a_time(self, effects):
        """A second one waits until the first has made room."""
        scheduler = Scheduler(effects, places=2, queue_max=4, default_slots=1)
        resident(scheduler, effects, "a")
        resident(scheduler, effects, "b")

        scheduler.on_request("r1", "c")
        scheduler.on_request("r2", "d")
        assert effects.take() == [("unload", "a")]

        scheduler.on_gone("a")
        assert effects.take() == [("load", "c"), ("unload", "b")]

    def test_a_model_on_its_way_out_takes_nobody(self, scheduler, effects):
        """Also when the one it makes room for has given up."""
        resident(scheduler, effects, "a")
        scheduler.on_request("r1", "b")
        scheduler.on_request("r2", "a")
        scheduler.on_leave("r1")
        assert effects.take() == [("unload", "a")]

        scheduler.on_gone("a")

        assert effects.take() == [("load", "a")]

    def test_a_request_for_a_leaving_model_loads_it_again(self, scheduler, effects):
        """It waits for the end of the old worker, never runs on it."""
        resident(scheduler, effects, "a")
        scheduler.ask_unload("a")
        scheduler.on_request("r1", "a")
        assert effects.take() == [("unload", "a")]

        scheduler.on_gone("a")

        assert effects.take() == [("load", "a")]


class TestUnload:
    def test_an_idle_model_goes_at_once(self, scheduler, effects):
        """Asked twice, it is told once."""
        resident(scheduler, effects, "a")

        assert scheduler.ask_unload("a") is True
        assert scheduler.ask_unload("a") is True
        assert effects.take() == [("unload", "a")]

    def test_a_busy_model_goes_after_its_last_answer(self, scheduler, effects):
        """And takes no new one meanwhile."""
        resident(scheduler, effects, "a")
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "a")
        scheduler.ask_unload("a")
        scheduler.on_request("r3", "a")
        effects.take()

        scheduler.on_release("a")
        assert effects.take() == []
        scheduler.on_release("a")

        assert effects.take() == [("unload", "a")]

    def test_what_is_not_resident_cannot_be_unloaded(self, scheduler, effects):
        """There is nothing to wait for."""
        assert scheduler.ask_unload("a") is False

    def test_what_is_loading_leaves_once_it_came_and_served(self, scheduler, effects):
        """Who waited for the load is served first."""
        scheduler.on_request("r1", "a")
        assert scheduler.ask_unload("a") is True
        effects.take()

        scheduler.on_loaded("a", 1)
        assert effects.take() == [("grant", "r1", "a")]
        scheduler.on_release("a")

        assert effects.take() == [("unload", "a")]

    def test_a_load_that_fails_forgets_the_wish(self, scheduler, effects):
        """The next load stays."""
        scheduler.on_request("r1", "a")
        scheduler.ask_unload("a")
        scheduler.on_load_failed("a", AgentLoadError(model="a", reason="test"))

        scheduler.on_request("r2", "a")
        scheduler.on_loaded("a", 1)
        scheduler.on_release("a")

        assert not scheduler.resident["a"].leaving


class TestDeath:
    def test_nobody_is_sent_to_a_worker_that_is_being_killed(self, scheduler, effects):
        """Who comes now gets the next one; the answers on it are not waited for."""
        resident(scheduler, effects, "a")
        scheduler.on_request("r1", "a")
        effects.take()

        scheduler.on_doomed("a")
        scheduler.on_doomed("nobody")
        scheduler.on_request("r2", "a")
        scheduler.ask_unload("a")
        scheduler.on_release("a")
        assert effects.take() == []

        scheduler.on_gone("a")
        assert effects.take() == [("load", "a")]

    def test_those_who_wait_for_a_dead_model_get_a_new_load(self, scheduler, effects):
        """The dispatcher tells those who ran."""
        resident(scheduler, effects, "a", slots=1)
        scheduler.on_request("r1", "a")
        scheduler.on_request("r2", "a")
        effects.take()

        scheduler.on_gone("a")
        assert effects.take() == [("load", "a")]
        scheduler.on_loaded("a", 1)

        assert effects.take() == [("grant", "r2", "a")]
        assert scheduler.running == 1

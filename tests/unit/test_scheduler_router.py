"""What llama.cpp's router promises of its queue (its `test_router.py`), kept here as well."""

from __future__ import annotations

import pytest

from orion.errors import AgentLoadError
from orion.scheduling import Scheduler
from tests.fakes.effects import Recorder, ask, make_scheduler, resident


@pytest.fixture
def effects() -> Recorder:
    return Recorder()


@pytest.fixture
def scheduler(effects: Recorder) -> Scheduler:
    """One place, one slot, and a queue that holds them all."""
    return make_scheduler(effects, default_slots=1, queue_max=8)


class TestRouter:
    def test_a_busy_model_is_not_evicted_for_another(self, scheduler, effects):
        """The other one is loaded once the answer has ended, and not before."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        assert effects.take() == [("grant", "r1", "a")]

        scheduler.on_release("a")
        scheduler.on_gone("a")

        assert effects.take() == [("unload", "a"), ("load", "b")]

    def test_waiters_for_one_model_are_served_by_one_load(self, scheduler, effects):
        """However many they are, and whoever waits between them."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "busy")
        for number in range(1, 4):
            ask(scheduler, f"b{number}", model="b")
            ask(scheduler, f"c{number}", model="c")
        scheduler.on_release("a")
        scheduler.on_gone("a")
        scheduler.on_loaded("b", 3)

        assert effects.take() == [
            ("grant", "busy", "a"),
            ("unload", "a"),
            ("load", "b"),
            ("grant", "b1", "b"),
            ("grant", "b2", "b"),
            ("grant", "b3", "b"),
        ]

    def test_who_leaves_the_queue_costs_no_swap(self, scheduler, effects):
        """The model it waited for is not loaded, and the busy one stays."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        scheduler.on_leave("r2")

        scheduler.on_release("a")
        ask(scheduler, "r3")

        assert effects.take() == [("grant", "r1", "a"), ("grant", "r3", "a")]

    def test_who_leaves_frees_its_place_at_once(self, effects):
        """The queue was full; the next to come finds room."""
        scheduler = make_scheduler(effects, default_slots=1, queue_max=1)
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", "r2", "r3")
        assert effects.take() == [("grant", "r1", "a"), ("refuse", "r3", "overloaded")]

        scheduler.on_leave("r2")
        ask(scheduler, "r4")

        assert effects.take() == []
        assert scheduler.waiting_for("a") == ["r4"]

    def test_requests_for_one_model_run_in_the_order_they_came(self, scheduler, effects):
        """First come, first served, load after load."""
        for number in range(1, 7):
            ask(scheduler, f"r{number}")
        scheduler.on_loaded("a", 1)
        for _ in range(5):
            scheduler.on_release("a")

        assert effects.granted() == ["r1", "r2", "r3", "r4", "r5", "r6"]

    def test_models_get_their_places_in_the_order_they_were_asked_for(self, scheduler, effects):
        """The one that has waited the longest is next."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1")
        for model in ("c", "b", "d"):
            ask(scheduler, f"for-{model}", model=model)
        effects.take()

        loads = []
        for model in ("a", "c", "b"):
            scheduler.on_release(model)
            scheduler.on_gone(model)
            loads += [call[1] for call in effects.take() if call[0] == "load"]
            scheduler.on_loaded(loads[-1], 1)

        assert loads == ["c", "b", "d"]

    def test_nobody_is_sent_to_a_model_that_stops(self, scheduler, effects):
        """A request for it waits for its next load."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", model="b")
        ask(scheduler, "r2")

        scheduler.on_gone("a")

        assert effects.take() == [("unload", "a"), ("load", "b")]
        assert scheduler.waiting_for("a") == ["r2"]

    def test_two_waiters_share_one_eviction(self, effects):
        """Nobody else goes for the second."""
        scheduler = make_scheduler(effects, places=2, queue_max=8)
        resident(scheduler, effects, "a", "b")

        ask(scheduler, "r1", "r2", model="c")
        scheduler.on_gone("a")
        scheduler.on_loaded("c", 2)

        grants = [("grant", "r1", "c"), ("grant", "r2", "c")]
        assert effects.take() == [("unload", "a"), ("load", "c"), *grants]

    def test_a_model_that_was_just_loaded_is_used_before_it_is_evicted(self, scheduler, effects):
        """Also where others have waited for its place all the while."""
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        scheduler.clock.advance(60.0)
        scheduler.on_look()

        scheduler.on_loaded("a", 1)

        assert effects.take() == [("load", "a"), ("grant", "r1", "a")]

    def test_a_load_nobody_waits_for_any_more_gives_its_place(self, scheduler, effects):
        """To the one that does, once it is complete."""
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        scheduler.on_leave("r1")
        assert effects.take() == [("load", "a")]

        scheduler.on_loaded("a", 1)

        assert effects.take() == [("unload", "a")]

    def test_a_load_that_fails_costs_others_nothing(self, scheduler, effects):
        """The next model is loaded in its place."""
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")

        scheduler.on_load_failed("a", AgentLoadError(model="a", reason="no"))

        assert effects.take() == [("load", "a"), ("refuse", "r1", "load_failed"), ("load", "b")]

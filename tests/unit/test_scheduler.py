"""Who runs when: the decisions, recorded as tuples."""

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
    return make_scheduler(effects)


class TestLoading:
    def test_the_first_request_starts_the_load(self, scheduler, effects):
        """Nothing is resident: load, then grant."""
        ask(scheduler, "r1")

        assert effects.take() == [("load", "a")]
        scheduler.on_loaded("a", 2)
        assert effects.take() == [("grant", "r1", "a")]

    def test_two_callers_share_one_load(self, scheduler, effects):
        """A cold model asked for twice is loaded once and both run."""
        ask(scheduler, "r1", "r2")
        scheduler.on_loaded("a", 2)

        assert effects.take() == [("load", "a"), ("grant", "r1", "a"), ("grant", "r2", "a")]

    def test_a_failed_load_tells_everyone_who_waited_for_it(self, scheduler, effects):
        """And only them."""
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        ask(scheduler, "r3")
        effects.take()

        scheduler.on_load_failed("a", AgentLoadError(model="a", reason="no"))

        told = [("refuse", "r1", "load_failed"), ("refuse", "r3", "load_failed")]
        assert effects.take() == [*told, ("load", "b")]

    def test_a_load_goes_on_when_the_one_who_asked_leaves(self, scheduler, effects):
        """The next caller finds the model resident."""
        ask(scheduler, "r1")

        assert scheduler.on_leave("r1") is True
        scheduler.on_loaded("a", 2)
        ask(scheduler, "r2")

        assert effects.take() == [("load", "a"), ("grant", "r2", "a")]

    def test_as_many_models_load_at_once_as_there_are_places(self, effects):
        """Two places, three models: the third waits."""
        scheduler = make_scheduler(effects, places=2, queue_max=4, default_slots=1)

        for name, model in (("r1", "a"), ("r2", "b"), ("r3", "c")):
            ask(scheduler, name, model=model)

        assert effects.take() == [("load", "a"), ("load", "b")]
        assert list(scheduler.pending) == ["c"]


class TestSlots:
    def test_a_warm_model_answers_at_once(self, scheduler, effects):
        """Up to its slots."""
        resident(scheduler, effects, "a")

        ask(scheduler, "r1", "r2", "r3")

        assert effects.take() == [("grant", "r1", "a"), ("grant", "r2", "a")]
        assert scheduler.running == 2
        assert scheduler.waiting_for("a") == ["r3"]

    def test_places_in_the_line_are_counted_per_model(self, scheduler, effects):
        """What is before one in another model's line does not concern it."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", "r2", "r3")
        ask(scheduler, "r4", model="b")

        assert dict(scheduler.places()) == {"r3": 1, "r4": 1}

    def test_a_released_slot_goes_to_the_first_in_line(self, scheduler, effects):
        """First come, first served."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", "r2", "r3")
        effects.take()

        scheduler.on_release("a")

        assert effects.take() == [("grant", "r2", "a")]

    def test_a_release_of_a_model_that_has_gone_changes_nothing(self, scheduler, effects):
        """Its worker died first."""
        scheduler.on_release("a", "anna")

        assert effects.take() == []
        assert scheduler.shares.held("anna") == 0

    def test_someone_who_runs_cannot_leave_the_queue(self, scheduler, effects):
        """Leaving is for those who wait."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1")

        assert scheduler.on_leave("r1") is False
        assert scheduler.on_leave("nobody") is False

    def test_two_that_may_not_share_a_worker_do_not(self, effects):
        """And nobody overtakes the one that waits to be let in."""
        scheduler = make_scheduler(effects)
        effects.shy = {"r1", "r2"}
        resident(scheduler, effects, "a", slots=3)
        ask(scheduler, "r1", "r2", "r3")
        assert effects.take() == [("grant", "r1", "a")]

        effects.running["a"].discard("r1")
        scheduler.on_release("a")

        assert effects.take() == [("grant", "r2", "a"), ("grant", "r3", "a")]

    def test_those_behind_one_that_waits_to_be_let_in_go_on_when_it_leaves(self, effects):
        """It held them back, and only it."""
        scheduler = make_scheduler(effects)
        effects.shy = {"r1", "r2"}
        resident(scheduler, effects, "a", slots=3)
        ask(scheduler, "r1", "r2", "r3")
        effects.take()

        scheduler.on_leave("r2")

        assert effects.take() == [("grant", "r3", "a")]


class TestEviction:
    def test_the_model_unused_for_longest_goes(self, effects):
        """And it is gone before the load begins."""
        scheduler = make_scheduler(effects, places=2)
        resident(scheduler, effects, "a", "b")
        ask(scheduler, "again")
        scheduler.on_release("a")
        effects.take()

        ask(scheduler, "r1", model="c")

        assert effects.take() == [("unload", "b")]
        scheduler.on_gone("b")
        assert effects.take() == [("load", "c")]

    def test_a_model_in_use_is_never_evicted(self, scheduler, effects):
        """Whoever needs its place waits for the answer to end."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")

        assert effects.take() == [("grant", "r1", "a")]
        scheduler.on_release("a")
        assert effects.take() == [("unload", "a")]

    def test_one_eviction_at_a_time(self, effects):
        """A second one waits until the first has made room."""
        scheduler = make_scheduler(effects, places=2)
        resident(scheduler, effects, "a", "b")

        ask(scheduler, "r1", model="c")
        ask(scheduler, "r2", model="d")
        assert effects.take() == [("unload", "a")]

        scheduler.on_gone("a")
        assert effects.take() == [("load", "c"), ("unload", "b")]

    def test_a_model_on_its_way_out_takes_nobody(self, scheduler, effects):
        """Also when the one it makes room for has given up."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", model="b")
        ask(scheduler, "r2")
        scheduler.on_leave("r1")
        assert effects.take() == [("unload", "a")]

        scheduler.on_gone("a")

        assert effects.take() == [("load", "a")]

    def test_a_request_for_a_leaving_model_loads_it_again(self, scheduler, effects):
        """It waits for the end of the old worker, never runs on it."""
        resident(scheduler, effects, "a")
        scheduler.ask_unload("a")
        ask(scheduler, "r1")
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
        ask(scheduler, "r1", "r2")
        scheduler.ask_unload("a")
        ask(scheduler, "r3")
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
        ask(scheduler, "r1")
        assert scheduler.ask_unload("a") is True
        effects.take()

        scheduler.on_loaded("a", 1)
        assert effects.take() == [("grant", "r1", "a")]
        scheduler.on_release("a")

        assert effects.take() == [("unload", "a")]

    def test_those_an_unwanted_load_cannot_serve_at_once_get_another(self, scheduler, effects):
        """One slot, two waiters: the second is served by the next load, not left waiting."""
        ask(scheduler, "r1", "r2")
        scheduler.ask_unload("a")
        scheduler.on_loaded("a", 1)
        effects.take()

        scheduler.on_release("a")
        scheduler.on_gone("a")
        scheduler.on_loaded("a", 1)

        assert effects.take() == [("unload", "a"), ("load", "a"), ("grant", "r2", "a")]

    @pytest.mark.parametrize("ending", ["fails", "is given up"])
    def test_a_load_that_comes_to_nothing_forgets_the_wish(self, scheduler, effects, ending):
        """The next load stays."""
        scheduler.on_prefetch("a")
        scheduler.ask_unload("a")
        if ending == "fails":
            scheduler.on_load_failed("a", AgentLoadError(model="a", reason="test"))
        else:
            ask(scheduler, "r1", model="b")
            scheduler.on_gone("a")
            scheduler.on_load_failed("b", AgentLoadError(model="b", reason="test"))

        ask(scheduler, "r2")
        scheduler.on_loaded("a", 1)
        scheduler.on_release("a")

        assert not scheduler.resident["a"].leaving


class TestDeath:
    def test_nobody_is_sent_to_a_worker_that_is_being_killed(self, scheduler, effects):
        """Who comes now gets the next one; the answers on it are not waited for."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1")
        effects.take()

        scheduler.on_doomed("a")
        scheduler.on_doomed("nobody")
        ask(scheduler, "r2")
        scheduler.ask_unload("a")
        scheduler.on_release("a")
        assert effects.take() == []

        scheduler.on_gone("a")
        assert effects.take() == [("load", "a")]

    def test_those_who_wait_for_a_dead_model_get_a_new_load(self, scheduler, effects):
        """The dispatcher tells those who ran."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", "r2")
        effects.take()

        scheduler.on_gone("a")
        assert effects.take() == [("load", "a")]
        scheduler.on_loaded("a", 1)

        assert effects.take() == [("grant", "r2", "a")]
        assert scheduler.running == 1

    def test_the_answers_of_a_dead_worker_are_nobodys_share_any_more(self, scheduler, effects):
        """Whoever ran on it holds nothing, however late its end is told."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", "r2", client="anna")
        assert scheduler.shares.held("anna") == 2

        scheduler.on_gone("a")
        scheduler.on_release("a", "anna")

        assert scheduler.shares.held("anna") == 0
        assert scheduler.running == 0

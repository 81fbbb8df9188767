"""Loads ahead of any request: only where they cost nobody anything."""

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
    """One place, in which `b` is resident and idle."""
    scheduler = make_scheduler(effects, queue_max=8)
    resident(scheduler, effects, "b")
    return scheduler


class TestBeginning:
    def test_it_takes_a_free_place(self, effects):
        """And is marked as a guess until it serves."""
        scheduler = make_scheduler(effects)

        assert scheduler.on_prefetch("a")
        assert effects.take() == [("prefetch", "a")]
        scheduler.on_loaded("a", 2)
        assert scheduler.resident["a"].speculative

    def test_it_takes_the_place_of_an_idle_model(self, scheduler, effects):
        """Which is gone before it begins."""
        assert scheduler.on_prefetch("a")
        assert effects.take() == [("unload", "b")]

        scheduler.on_gone("b")

        assert effects.take() == [("prefetch", "a")]

    def test_it_waits_for_one_that_leaves_anyway(self, effects):
        """Nobody else has to go."""
        scheduler = make_scheduler(effects, places=2)
        resident(scheduler, effects, "b", "c")
        scheduler.ask_unload("c")
        assert scheduler.on_prefetch("a")
        scheduler.on_gone("c")

        assert effects.take() == [("unload", "c"), ("prefetch", "a")]

    @pytest.mark.parametrize("busy", ["runs", "waits", "loads", "pinned", "there", "short-lived"])
    def test_it_does_not_begin_where_it_would_be_in_the_way(self, effects, busy):
        """Of an answer, of a load, of who waits for either; or to no use."""
        given = {"pinned": frozenset({"b"})} if busy == "pinned" else {}
        given |= {"keep_alive_s": 0.0} if busy == "short-lived" else {}
        scheduler = make_scheduler(effects, places=1 if busy == "pinned" else 2, **given)
        if busy in {"runs", "pinned"}:
            resident(scheduler, effects, "b")
        if busy in {"runs", "waits"}:
            ask(scheduler, "r1", model="b")
        elif busy == "loads":
            scheduler.on_wanted("b")
        elif busy == "there":
            resident(scheduler, effects, "a")
        effects.take()

        assert not scheduler.on_prefetch("a")
        assert effects.take() == []

    def test_it_does_not_begin_where_it_would_never_fit(self, scheduler, effects):
        """Nobody is evicted for it."""
        effects.sizes, effects.total = {"a": 9}, 8

        assert not scheduler.on_prefetch("a")
        assert effects.take() == []

    def test_one_guess_at_a_time(self, scheduler, effects):
        """The second would only undo the first."""
        scheduler.on_prefetch("a")

        assert not scheduler.on_prefetch("c")
        scheduler.on_gone("b")
        assert not scheduler.on_prefetch("c")
        assert effects.take() == [("unload", "b"), ("prefetch", "a")]

    def test_a_guess_that_was_right_serves_at_once(self, scheduler, effects):
        """And counts as a guess no more."""
        scheduler.on_prefetch("a")
        scheduler.on_gone("b")
        scheduler.on_loaded("a", 1)
        ask(scheduler, "r1")

        assert effects.take()[-1] == ("grant", "r1", "a")
        assert not scheduler.resident["a"].speculative


class TestGivingWay:
    def test_a_request_that_needs_the_place_ends_it(self, effects):
        """At once; the place is free when the process has ended."""
        scheduler = make_scheduler(effects)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="b")
        assert effects.take() == [("prefetch", "a"), ("abort", "a")]

        scheduler.on_gone("a")

        assert effects.take() == [("load", "b")]

    def test_a_request_that_needs_the_machine_ends_it(self, effects):
        """An answer of another model should not share the cores with a guess."""
        scheduler = make_scheduler(effects, places=2)
        resident(scheduler, effects, "b")
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="b")

        assert effects.take() == [("prefetch", "a"), ("grant", "r1", "b"), ("abort", "a")]

    def test_a_load_that_is_needed_ends_it(self, effects):
        """Even where there is a place for both."""
        scheduler = make_scheduler(effects, places=2)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="b")

        assert effects.take() == [("prefetch", "a"), ("abort", "a"), ("load", "b")]

    def test_so_does_a_lost_model_that_is_brought_back(self, effects):
        """Agents use that one."""
        scheduler = make_scheduler(effects, places=2)
        scheduler.on_prefetch("a")
        assert scheduler.on_wanted("b")

        assert effects.take() == [("prefetch", "a"), ("abort", "a"), ("load", "b")]

    def test_nobody_is_evicted_where_it_makes_room_by_itself(self, effects):
        """Its place is enough for the one that waits."""
        scheduler = make_scheduler(effects, places=2)
        resident(scheduler, effects, "b")
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="c")
        scheduler.on_gone("a")

        assert effects.take() == [("prefetch", "a"), ("abort", "a"), ("load", "c")]

    def test_it_is_forgotten_where_it_had_not_begun(self, scheduler, effects):
        """The place that was made free goes to the request."""
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="c")
        scheduler.on_gone("b")
        scheduler.on_loaded("c", 1)

        assert effects.take() == [("unload", "b"), ("load", "c"), ("grant", "r1", "c")]

    def test_it_is_forgotten_where_a_request_came_and_went_meanwhile(self, scheduler, effects):
        """What was likely before it came is so no more."""
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="c")
        scheduler.on_leave("r1")
        scheduler.on_gone("b")

        assert effects.take() == [("unload", "b")]
        assert scheduler.on_prefetch("a")

    def test_an_answer_on_another_model_forgets_it_too(self, effects):
        """It begins no more, and the next guess may."""
        scheduler = make_scheduler(effects, places=2)
        resident(scheduler, effects, "b", "c")
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="c")
        scheduler.on_gone("b")
        scheduler.on_release("c")

        assert effects.take() == [("unload", "b"), ("grant", "r1", "c")]
        assert scheduler.on_prefetch("a")

    def test_one_that_was_given_up_is_not_loaded_beside_its_own_end(self, effects):
        """One model has one worker: who asks for it waits for the end of the first."""
        scheduler = make_scheduler(effects, places=3)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="b")
        ask(scheduler, "r2")
        assert effects.take() == [("prefetch", "a"), ("abort", "a"), ("load", "b")]

        scheduler.on_gone("a")

        assert effects.take() == [("load", "a")]

    def test_its_memory_is_not_given_away_before_it_has_ended(self, effects):
        """The budget is kept at every moment."""
        scheduler = make_scheduler(effects, places=3, budget_bytes=8)
        effects.sizes = {"a": 6, "b": 6}
        scheduler.on_prefetch("a")
        ask(scheduler, "r1", model="b")
        assert effects.take() == [("prefetch", "a"), ("abort", "a")]

        scheduler.on_gone("a")

        assert effects.take() == [("load", "b")]


class TestJoining:
    def test_a_request_for_the_same_model_waits_for_it(self, effects):
        """The guess was right: what is left of the load is all it waits for."""
        scheduler = make_scheduler(effects)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1")
        scheduler.on_loaded("a", 1)

        assert effects.take() == [("prefetch", "a"), ("grant", "r1", "a")]

    def test_it_is_given_up_for_nobody_while_somebody_waits_for_it(self, effects):
        """It is a load like any other."""
        scheduler = make_scheduler(effects, queue_max=8)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        scheduler.on_loaded("a", 1)

        assert effects.take() == [("prefetch", "a"), ("grant", "r1", "a")]

    def test_it_is_a_guess_again_when_they_have_left(self, effects):
        """And gives way to the one that waits."""
        scheduler = make_scheduler(effects, queue_max=8)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        effects.take()

        scheduler.on_leave("r1")
        scheduler.on_gone("a")

        assert effects.take() == [("abort", "a"), ("load", "b")]

    @pytest.mark.parametrize("other", ["runs", "loads"])
    def test_so_it_is_where_another_only_runs_or_loads(self, effects, other):
        """There is a place for both, and one machine."""
        scheduler = make_scheduler(effects, places=2, queue_max=8)
        if other == "runs":
            resident(scheduler, effects, "b")
        scheduler.on_prefetch("a")
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        assert ("abort", "a") not in effects.take()

        scheduler.on_leave("r1")

        assert effects.take() == [("abort", "a")]

    def test_one_whose_load_fails_hears_of_it(self, effects):
        """As from any load."""
        scheduler = make_scheduler(effects)
        scheduler.on_prefetch("a")
        ask(scheduler, "r1")
        scheduler.on_load_failed("a", AgentLoadError(model="a", reason="no"))

        assert effects.take() == [("prefetch", "a"), ("refuse", "r1", "load_failed")]

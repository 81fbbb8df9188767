"""Places are not all: models have a size, and machines have so much memory."""

from __future__ import annotations

import pytest

from orion.errors import AgentLoadError, ModelTooLargeError, NoRoomError
from orion.scheduling import Scheduler
from tests.fakes.effects import Recorder, ask, make_scheduler, resident

GB = 10**9


@pytest.fixture
def effects() -> Recorder:
    """Eight of memory; `big` would take ten of it."""
    effects = Recorder()
    effects.sizes = {"a": 4 * GB, "b": 4 * GB, "c": 6 * GB, "big": 10 * GB}
    effects.total = 8 * GB
    return effects


@pytest.fixture
def scheduler(effects: Recorder) -> Scheduler:
    return make_scheduler(effects, places=4, queue_max=8)


class TestTooLarge:
    @pytest.mark.parametrize("bound", ["machine", "budget", "reserve"])
    def test_a_model_larger_than_the_machine_is_refused_at_once(self, effects, bound):
        """And nobody is evicted for it."""
        given = {"budget": {"budget_bytes": 8 * GB}, "reserve": {"reserve_bytes": 3 * GB}}
        effects.total = {"machine": 8 * GB, "budget": None, "reserve": 12 * GB}[bound]
        scheduler = make_scheduler(effects, places=4, **given.get(bound, {}))
        resident(scheduler, effects, "a")

        ask(scheduler, "r1", model="big")

        error = effects.errors["r1"]
        assert isinstance(error, ModelTooLargeError)
        assert error.facts["need_gb"] == 10.0
        assert error.facts["have_gb"] == {"machine": 8.0, "budget": 8.0, "reserve": 9.0}[bound]
        assert effects.take() == [("refuse", "r1", error.code)]

    def test_a_model_of_unknown_size_is_tried(self, effects):
        """Its load will tell."""
        scheduler = make_scheduler(effects, reserve_bytes=20 * GB)
        ask(scheduler, "r1", model="unknown")

        assert effects.take() == [("load", "unknown")]


class TestRoom:
    def test_models_stay_together_while_they_fit(self, scheduler, effects):
        """There is a place and there is memory."""
        effects.free = 8 * GB
        resident(scheduler, effects, "a")
        effects.free = 4 * GB

        ask(scheduler, "r1", model="b")

        assert effects.take() == [("load", "b")]

    def test_the_budget_is_kept_even_where_the_machine_has_more(self, effects):
        """It is for all that are resident or on their way."""
        scheduler = make_scheduler(effects, places=4, budget_bytes=9 * GB)
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", model="b")
        ask(scheduler, "r2", model="c")

        assert effects.take() == [("load", "b"), ("unload", "a")]

    def test_so_many_leave_as_there_must(self, scheduler, effects):
        """The least recently used first, one after the other, measured again in between."""
        effects.free = 8 * GB
        resident(scheduler, effects, "a", "b")
        effects.free = 0
        ask(scheduler, "r1", model="c")
        effects.free = 4 * GB
        scheduler.on_gone("a")
        effects.free = 8 * GB
        scheduler.on_gone("b")

        assert effects.take() == [("unload", "a"), ("unload", "b"), ("load", "c")]

    def test_what_is_kept_free_is_kept_free(self, effects):
        """The reserve is for everything else on the machine."""
        scheduler = make_scheduler(effects, places=4, reserve_bytes=GB)
        effects.free = 8 * GB
        resident(scheduler, effects, "a")
        effects.free = 4 * GB + GB // 2

        ask(scheduler, "r1", model="b")

        assert effects.take() == [("unload", "a")]

    def test_what_a_load_under_way_will_take_is_not_given_away(self, scheduler, effects):
        """It may not have allocated anything yet."""
        effects.free = 8 * GB
        ask(scheduler, "r1", model="a")
        ask(scheduler, "r2", model="c")

        assert effects.take() == [("load", "a")]

    def test_where_nothing_is_known_only_places_count(self, effects):
        """As before there were sizes."""
        effects.total = None
        scheduler = make_scheduler(effects, places=2)
        resident(scheduler, effects, "a")

        ask(scheduler, "r1", model="big")

        assert effects.take() == [("load", "big")]

    def test_what_was_measured_counts_for_the_next_load(self, effects):
        """A plan is a guess; what it took before it will take again."""
        scheduler = make_scheduler(effects, budget_bytes=8 * GB, places=4)
        resident(scheduler, effects, "b")
        scheduler.cache.measured("b", 5 * GB)
        scheduler.ask_unload("b")
        scheduler.on_gone("b")
        resident(scheduler, effects, "a")

        ask(scheduler, "r1", model="b")

        assert effects.take() == [("unload", "a")]


class TestWaitingForRoom:
    def test_where_all_are_in_use_one_waits(self, scheduler, effects):
        """The first that is idle makes room at once."""
        effects.free = 8 * GB
        resident(scheduler, effects, "a")
        effects.free = 4 * GB
        ask(scheduler, "r1", "r2", model="a")
        ask(scheduler, "r3", model="c")
        scheduler.on_release("a")
        assert effects.granted() == ["r1", "r2"]

        scheduler.on_release("a")

        assert effects.take() == [("unload", "a")]

    def test_memory_is_not_measured_again_at_every_request(self, scheduler, effects):
        """Only when something has changed, or time has passed."""
        effects.free = 8 * GB
        resident(scheduler, effects, "a")
        effects.free = 4 * GB
        ask(scheduler, "r1", model="a")
        ask(scheduler, "r2", model="c")
        looks = effects.looks_at_memory
        ask(scheduler, "r3", "r4", model="c")
        scheduler.on_leave("r4")
        assert effects.looks_at_memory == looks

        effects.free = 8 * GB
        scheduler.on_look()

        assert effects.take()[-1] == ("load", "c")

    def test_a_smaller_one_behind_it_is_tried_when_it_leaves(self, scheduler, effects):
        """What was found of the one says nothing about the other."""
        effects.sizes["small"] = GB
        effects.free = 8 * GB
        resident(scheduler, effects, "a")
        effects.free = 4 * GB
        ask(scheduler, "r1", model="a")
        ask(scheduler, "r2", model="c")
        ask(scheduler, "r3", model="small")
        effects.take()

        scheduler.on_leave("r2")

        assert effects.take() == [("load", "small")]

    def test_a_turn_ends_where_memory_is_short_too(self, effects):
        """There is a place, and no room in it."""
        scheduler = make_scheduler(effects, places=4, default_slots=1, queue_max=30, turn_max=3)
        effects.free = 8 * GB
        resident(scheduler, effects, "a", slots=1)
        effects.free = 4 * GB
        ask(scheduler, *(f"a{number}" for number in range(8)), model="a")
        ask(scheduler, "c1", model="c")
        for _ in range(3):
            scheduler.on_release("a")

        assert scheduler.resident["a"].yielding

    def test_memory_comes_back_a_moment_after_a_process_has_ended(self, scheduler, effects):
        """Until then nobody is refused for want of it."""
        effects.free = 8 * GB
        resident(scheduler, effects, "a")
        effects.free = 4 * GB
        ask(scheduler, "r1", model="c")
        scheduler.on_gone("a")
        scheduler.clock.advance(1.0)
        scheduler.on_look()
        assert effects.take() == [("unload", "a")]

        effects.free = 8 * GB
        scheduler.on_look()

        assert effects.take() == [("load", "c")]

    def test_so_it_does_after_a_load_that_failed(self, scheduler, effects):
        """Its process has still to end."""
        effects.free = 6 * GB
        ask(scheduler, "r1", model="c")
        effects.free = 0
        ask(scheduler, "r2", model="a")
        scheduler.on_load_failed("c", AgentLoadError(model="c", reason="no"))

        assert "r2" not in effects.errors

    def test_where_it_does_not_come_back_they_hear_of_it(self, scheduler, effects):
        """Something else holds it: waiting would not help."""
        effects.free = 8 * GB
        resident(scheduler, effects, "a")
        effects.free = 4 * GB
        ask(scheduler, "r1", model="c")
        scheduler.on_gone("a")
        scheduler.clock.advance(2.1)
        scheduler.on_look()

        assert isinstance(effects.errors["r1"], NoRoomError)
        assert scheduler.num_waiting == 0

    def test_where_nothing_could_leave_they_hear_of_it_at_once(self, scheduler, effects):
        """No model is here: the memory is somebody else's."""
        effects.free = GB
        ask(scheduler, "r1", model="a")

        assert isinstance(effects.errors["r1"], NoRoomError)


class TestPinned:
    @pytest.fixture
    def scheduler(self, effects):
        scheduler = make_scheduler(effects, pinned=frozenset({"a"}), queue_max=8)
        resident(scheduler, effects, "a")
        return scheduler

    def test_a_pinned_model_is_not_evicted(self, scheduler, effects):
        """Who needs its place hears that it will not be free, and why."""
        ask(scheduler, "r1", model="b")

        error = effects.errors["r1"]
        assert isinstance(error, NoRoomError)
        assert "a" in str(error)
        assert effects.take() == [("refuse", "r1", error.code)]

    def test_it_does_not_even_yield(self, scheduler, effects):
        """However long others have waited."""
        ask(scheduler, "r1", model="a")
        ask(scheduler, "r2", model="b")

        assert not scheduler.resident["a"].yielding
        assert isinstance(effects.errors["r2"], NoRoomError)

    def test_another_goes_in_its_stead(self, effects):
        """Also one that was used more recently."""
        scheduler = make_scheduler(effects, places=2, pinned=frozenset({"a"}))
        resident(scheduler, effects, "a", "b")

        ask(scheduler, "r1", model="unknown")

        assert effects.take() == [("unload", "b")]

    def test_it_leaves_when_it_is_asked_to(self, scheduler, effects):
        """And is pinned no more."""
        assert scheduler.ask_unload("a")

        assert effects.take() == [("unload", "a")]
        assert "a" not in scheduler.cache.pinned

    def test_one_that_was_asked_to_leave_is_waited_for_even_if_pinned_again(
        self, scheduler, effects
    ):
        """It is being renewed: it leaves once idle, and its place may go to another."""
        ask(scheduler, "r1", model="a")
        scheduler.ask_unload("a")
        scheduler.cache.pinned.add("a")
        ask(scheduler, "r2", model="b")
        assert effects.errors == {}

        scheduler.on_release("a")
        scheduler.on_gone("a")

        assert effects.take() == [("grant", "r1", "a"), ("unload", "a"), ("load", "b")]

    def test_one_that_is_renewed_while_it_loads_is_pinned_afterwards_too(self, effects):
        """Its wish to leave came before the pin."""
        scheduler = make_scheduler(effects)
        ask(scheduler, "r1", model="a")
        scheduler.ask_unload("a")
        scheduler.cache.pinned.add("a")
        scheduler.on_loaded("a", 1)
        scheduler.on_release("a")

        assert effects.take()[-1] == ("unload", "a")
        assert "a" in scheduler.cache.pinned

    def test_one_that_is_pinned_no_more_makes_room(self, scheduler, effects):
        """From the next request on."""
        scheduler.cache.pinned.discard("a")
        ask(scheduler, "r1", model="b")

        assert effects.take() == [("unload", "a")]


class TestKeepAlive:
    @pytest.mark.parametrize("wish", [-1.0, None])
    def test_a_model_stays_unless_told_otherwise(self, scheduler, effects, wish):
        """For ever, as far as time goes."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", keep_alive_s=wish)
        scheduler.on_release("a")
        scheduler.clock.advance(1e6)
        scheduler.on_look()

        assert effects.take() == [("grant", "r1", "a")]

    def test_with_nothing_it_leaves_with_its_last_answer(self, scheduler, effects):
        """Not before those that wait for it have been served."""
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", "r2", keep_alive_s=0.0)
        scheduler.on_release("a")
        assert effects.take() == [("grant", "r1", "a"), ("grant", "r2", "a")]

        scheduler.on_release("a")

        assert effects.take() == [("unload", "a")]

    def test_with_a_time_it_leaves_after_it_has_been_idle_for_it(self, scheduler, effects):
        """Counted from the end of its last answer."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", keep_alive_s=30.0)
        scheduler.clock.advance(100.0)
        scheduler.on_look()
        scheduler.on_release("a")
        scheduler.clock.advance(29.9)
        scheduler.on_look()
        assert effects.take() == [("grant", "r1", "a")]

        scheduler.clock.advance(0.1)
        scheduler.on_look()

        assert effects.take() == [("unload", "a")]

    def test_the_last_request_decides(self, scheduler, effects):
        """As in Ollama: one without a wish goes by the settings."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", keep_alive_s=1.0)
        scheduler.on_release("a")
        ask(scheduler, "r2")
        scheduler.on_release("a")
        scheduler.clock.advance(60.0)
        scheduler.on_look()

        assert not scheduler.resident["a"].leaving

    def test_the_settings_hold_for_a_load_that_nobody_used(self, effects):
        """It does not stay for ever because its caller left."""
        scheduler = make_scheduler(effects, keep_alive_s=10.0)
        ask(scheduler, "r1")
        scheduler.on_leave("r1")
        scheduler.on_loaded("a", 1)
        scheduler.clock.advance(10.0)
        scheduler.on_look()

        assert effects.take() == [("load", "a"), ("unload", "a")]

    @pytest.mark.parametrize("wish", [0.0, 5.0])
    def test_a_pinned_model_stays_whatever_a_caller_wishes(self, effects, wish):
        """Its owner decides."""
        scheduler = make_scheduler(effects, pinned=frozenset({"a"}))
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", keep_alive_s=wish)
        scheduler.on_release("a")
        scheduler.clock.advance(60.0)
        scheduler.on_look()

        assert effects.take() == [("grant", "r1", "a")]

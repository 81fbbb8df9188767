"""What those that wait are told: how long it will take, and when to come back."""

from __future__ import annotations

import pytest

from orion.clock import ManualClock
from orion.scheduling import Scheduler
from tests.fakes.effects import Recorder, ask, make_scheduler, resident


@pytest.fixture
def effects() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(effects: Recorder, clock: ManualClock) -> Scheduler:
    """Two slots; answers of `a` take ten seconds and those of `b` four, loads twenty."""
    scheduler = make_scheduler(effects, clock, queue_max=6)
    for model, seconds in (("a", 10.0), ("b", 4.0)):
        scheduler.pace.loaded(model, 20.0)
        for _ in range(5):
            scheduler.pace.served(model, seconds)
    return scheduler


class TestWait:
    def test_behind_answers_under_way_it_is_their_share_of_the_slots(self, scheduler, effects):
        """Each of those before it holds one of two slots for ten seconds."""
        resident(scheduler, effects, "a")
        ask(scheduler, "r1")
        assert scheduler.door.wait_s("a", 0) == 0.0
        ask(scheduler, "r2", "r3")

        assert [scheduler.door.wait_s("a", index) for index in range(3)] == [5.0, 10.0, 15.0]

    def test_for_a_model_that_loads_it_is_what_is_left_of_the_load(self, scheduler, clock):
        """And the rounds of answers before it."""
        ask(scheduler, "r1", "r2", "r3")
        clock.advance(15.0)

        assert scheduler.door.wait_s("a", 0) == pytest.approx(5.0)
        assert scheduler.door.wait_s("a", 2) == pytest.approx(15.0)

    def test_a_load_that_takes_longer_than_usual_may_end_at_any_moment(self, scheduler, clock):
        """It is never negative."""
        ask(scheduler, "r1")
        clock.advance(100.0)

        assert scheduler.door.wait_s("a", 0) == 0.0

    def test_for_a_model_without_a_place_those_before_it_count(self, scheduler, effects):
        """Their loads and their answers; for one nobody has asked for, all of them."""
        resident(scheduler, effects, "c")
        ask(scheduler, "busy", model="c")
        ask(scheduler, "r1", "r2", "r3", model="a")
        ask(scheduler, "r4", model="b")
        one_s = scheduler.pace.service_s()

        assert scheduler.door.wait_s("a", 0) == pytest.approx(one_s + 20.0)
        assert scheduler.door.wait_s("b", 0) == pytest.approx(one_s + 20.0 + 20.0 + 20.0)
        assert scheduler.door.wait_s("d", 0) > scheduler.door.wait_s("b", 0)

    def test_where_a_place_is_free_it_is_the_load(self, scheduler):
        """Nobody is before it."""
        assert scheduler.door.wait_s("a", 0) == pytest.approx(20.0)


class TestComingBack:
    @pytest.fixture
    def scheduler(self, effects):
        """Two slots and six that wait; answers take two seconds: one ends every second."""
        scheduler = make_scheduler(effects, queue_max=6)
        resident(scheduler, effects, "a")
        for _ in range(5):
            scheduler.pace.served("a", 2.0)
        return scheduler

    def told(self, scheduler: Scheduler, effects: Recorder, client: str = "") -> list[float]:
        effects.errors.clear()
        ask(scheduler, *(f"late-{client}{number}" for number in range(3)), client=client)
        return [error.facts["retry_after_s"] for error in effects.errors.values()]

    def test_the_first_comes_when_half_of_the_queue_is_through(self, scheduler, effects):
        """In whole seconds; the other half is kept for those who were not told anything."""
        ask(scheduler, *(f"r{number}" for number in range(8)))

        assert self.told(scheduler, effects) == [5.0, 6.0, 7.0]

    def test_a_client_alone_comes_back_as_fast_as_the_system_works(self, scheduler, effects):
        """Nobody else takes anything of it."""
        ask(scheduler, *(f"r{number}" for number in range(8)), client="anna")

        assert self.told(scheduler, effects, "anna") == [5.0, 6.0, 7.0]

    def test_beside_others_it_comes_back_as_fast_as_its_share_of_it(self, scheduler, effects):
        """Half of the system is half as fast."""
        ask(scheduler, "b1", client="ben")
        ask(scheduler, *(f"r{number}" for number in range(4)), client="anna")

        assert self.told(scheduler, effects, "anna") == [5.0, 7.0, 9.0]

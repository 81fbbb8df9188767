"""The order between models that share a place: few loads, and nobody waits past the bound."""

from __future__ import annotations

import pytest

from tests.fakes.effects import Recorder, ask, make_scheduler, resident
from tests.fakes.simulation import Simulation


def feed(world: Simulation, model: str, *, every_s: float, until_s: float) -> None:
    """A steady stream of requests for one model: always somebody waits for it."""

    def one(number: int) -> None:
        if world.clock.now() < until_s:
            world.ask(f"{model}{number}", model)
            world.at(every_s, lambda: one(number + 1))

    one(1)


class TestOrder:
    @pytest.mark.parametrize("slots", [1, 2, 4])
    def test_what_comes_at_once_costs_one_load_per_model(self, slots):
        """A B A A C A B C over one place: three loads and not eight, in order inside each."""
        world = Simulation(slots=slots, queue_max=8)
        for number, model in enumerate("abaacabc"):
            world.ask(f"{model}{number}", model)
        world.run()

        assert world.loads == ["a", "b", "c"]
        assert world.order == ["a0", "a2", "a3", "a5", "b1", "b6", "c4", "c7"]

    def test_who_comes_during_a_turn_is_served_in_it(self):
        """The weights are there: a swap away and back would cost everybody."""
        world = Simulation(queue_max=8)
        world.ask("a1")
        world.ask("b1", "b")
        world.at(1.5, lambda: world.ask("a2"))
        world.run()

        assert world.loads == ["a", "b"]
        assert world.order == ["a1", "a2", "b1"]

    def test_a_model_that_nobody_asks_for_is_not_loaded_again(self):
        """After its turn it stays away."""
        world = Simulation(queue_max=8)
        for model in "abab":
            world.ask(f"{model}{len(world.came_s)}", model)
        world.run()

        assert world.loads == ["a", "b"]


class TestStarvation:
    def test_a_stream_for_one_model_holds_another_back_for_a_turn_at_most(self):
        """`turn_max` answers after it began to wait, and not one more."""
        world = Simulation(queue_max=30, turn_max=5, patience_s=1e6)
        feed(world, "a", every_s=0.9, until_s=40.0)
        world.at(3.0, lambda: world.ask("b1", "b"))
        world.run()

        while_it_waited = [
            name
            for name, began_s in world.began_s.items()
            if world.came_s["b1"] <= began_s < world.began_s["b1"]
        ]
        assert len(while_it_waited) == 5

    @pytest.mark.parametrize("slots", [2, 3])
    def test_with_several_slots_a_turn_ends_with_the_grants_of_one_moment(self, slots):
        """Those let in together count one by one: less than a round of slots above the bound."""
        world = Simulation(slots=slots, queue_max=60, turn_max=4, patience_s=1e6)
        feed(world, "a", every_s=0.3, until_s=30.0)
        world.at(5.0, lambda: world.ask("b1", "b"))
        world.run()

        while_it_waited = [
            name
            for name, began_s in world.began_s.items()
            if world.came_s["b1"] <= began_s < world.began_s["b1"]
        ]
        assert 4 <= len(while_it_waited) < 4 + slots

    def test_a_stream_for_one_model_holds_another_back_for_its_patience_at_most(self):
        """And for the answers under way, the end of the worker and the load."""
        world = Simulation(queue_max=200, turn_max=1000, patience_s=10.0)
        feed(world, "a", every_s=0.9, until_s=60.0)
        world.at(3.0, lambda: world.ask("b1", "b"))
        world.run()

        assert 10.0 <= world.waited_s("b1") <= 10.0 + 1.0 + 0.5 + 0.1 + world.load_s

    def test_many_that_have_waited_for_long_do_not_swap_after_every_answer(self):
        """Each model that gets its place keeps it for as long as others had to wait for theirs."""
        patient = {"turn_max": 16, "slots": 2, "load_s": 3.0, "service_s": 4.0}
        loads = []
        for patience_s in (15.0, 1e6):
            world = Simulation(queue_max=400, patience_s=patience_s, **patient)
            for number in range(40):
                for model in "abcd":
                    world.ask(f"{model}{number}", model)
            world.run()
            loads.append(len(world.loads))

        assert loads[1] == 4 * 3
        assert loads[0] <= 2.5 * loads[1]

    def test_who_waits_on_after_a_turn_gets_another_turn(self):
        """Nobody is forgotten, and nobody is overtaken inside a model."""
        world = Simulation(queue_max=60, turn_max=3, patience_s=1e6)
        for number in range(8):
            world.ask(f"a{number}")
        for number in range(8):
            world.ask(f"b{number}", "b")
        world.run()

        assert world.loads == ["a", "b"] * 3
        of_a = [name for name in world.order if name[0] == "a"]
        of_b = [name for name in world.order if name[0] == "b"]
        assert of_a == [f"a{number}" for number in range(8)]
        assert of_b == [f"b{number}" for number in range(8)]

    def test_of_many_models_nobody_waits_for_more_turns_than_there_are_models(self):
        """All of them have more to do than a turn holds."""
        models, turn_max = "abcdef", 4
        world = Simulation(queue_max=200, turn_max=turn_max, patience_s=1e6)
        for number in range(12):
            for model in models:
                world.ask(f"{model}{number}", model)
        world.run()

        assert world.loads == list(models) * 3
        turns = [
            {name[0] for name in world.order[start : start + turn_max]}
            for start in range(0, len(world.order), turn_max)
        ]
        assert all(len(turn) == 1 for turn in turns)

    def test_with_two_places_the_model_that_had_the_longer_turn_yields(self):
        """The other one goes on."""
        effects = Recorder()
        scheduler = make_scheduler(effects, places=2, default_slots=1, queue_max=30, turn_max=2)
        resident(scheduler, effects, "a", "b", slots=1)
        ask(scheduler, "b1", "b2", "b3", model="b")
        ask(scheduler, "a1", "a2", "a3", "a4")
        ask(scheduler, "c1", model="c")
        effects.take()

        scheduler.on_release("a")
        scheduler.on_release("a")
        assert scheduler.resident["a"].yielding
        scheduler.on_release("b")
        scheduler.on_release("a")

        assert effects.take() == [
            ("grant", "a2", "a"),
            ("grant", "a3", "a"),
            ("grant", "b2", "b"),
            ("unload", "a"),
        ]


class TestYielding:
    @pytest.fixture
    def effects(self) -> Recorder:
        return Recorder()

    @pytest.fixture
    def scheduler(self, effects):
        """`a` has two slots, one answer under way and one waiter; its turn ended for `b`."""
        scheduler = make_scheduler(effects, queue_max=8, patience_s=5.0)
        resident(scheduler, effects, "a")
        ask(scheduler, "r1")
        ask(scheduler, "r2", model="b")
        scheduler.clock.advance(6.0)
        scheduler.on_look()
        ask(scheduler, "r3")
        assert effects.take() == [("grant", "r1", "a")]
        return scheduler

    def test_a_model_whose_turn_is_over_takes_nobody_and_leaves_when_idle(self, scheduler, effects):
        """Its answers under way end first."""
        scheduler.on_release("a")
        scheduler.on_gone("a")
        scheduler.on_loaded("b", 1)

        assert effects.take() == [("unload", "a"), ("load", "b"), ("grant", "r2", "b")]
        assert list(scheduler.pending) == ["a"]

    def test_its_turn_goes_on_when_nobody_wants_the_place_any_more(self, scheduler, effects):
        """Whoever waited for it is let in at once."""
        scheduler.on_leave("r2")

        assert effects.take() == [("grant", "r3", "a")]
        assert not scheduler.resident["a"].yielding

    def test_its_turn_goes_on_when_the_place_came_from_elsewhere(self, effects):
        """Another model went idle first."""
        scheduler = make_scheduler(effects, places=2, queue_max=8, patience_s=5.0)
        resident(scheduler, effects, "a", "c")
        ask(scheduler, "r1", model="a")
        ask(scheduler, "r2", model="c")
        ask(scheduler, "r3", model="b")
        scheduler.clock.advance(6.0)
        scheduler.on_look()
        (yielding,) = [name for name, held in scheduler.resident.items() if held.yielding]
        other = "c" if yielding == "a" else "a"
        effects.take()

        scheduler.on_release(other)
        scheduler.on_gone(other)

        assert effects.take() == [("unload", other), ("load", "b")]
        assert not scheduler.resident[yielding].yielding

    def test_one_that_was_pinned_meanwhile_stays(self, scheduler, effects):
        """A pinned model leaves only when asked to."""
        scheduler.cache.pinned.add("a")
        scheduler.on_release("a")

        assert effects.take() == [("refuse", "r2", "no_room"), ("grant", "r3", "a")]
        assert not scheduler.resident["a"].yielding

    def test_a_pinned_model_never_yields(self, effects):
        """Another one does, whose turn was shorter."""
        pinned = {"pinned": frozenset({"a"}), "patience_s": 5.0}
        scheduler = make_scheduler(effects, places=2, queue_max=8, default_slots=1, **pinned)
        resident(scheduler, effects, "a", "c", slots=1)
        ask(scheduler, "c0", model="c")
        ask(scheduler, "a0", "a1", "a2")
        ask(scheduler, "r1", model="b")
        scheduler.on_release("a")
        scheduler.on_release("a")
        scheduler.clock.advance(6.0)
        scheduler.on_look()

        assert [name for name, held in scheduler.resident.items() if held.yielding] == ["c"]

    def test_another_yields_in_the_stead_of_one_that_was_pinned(self, effects):
        """The longer turn of the two does not count any more."""
        scheduler = make_scheduler(effects, places=2, queue_max=8, turn_max=2, default_slots=1)
        resident(scheduler, effects, "a", "c", slots=1)
        ask(scheduler, "c0", "c1", "c2", "c3", model="c")
        ask(scheduler, "a0", "a1", "a2", "a3")
        ask(scheduler, "r1", model="b")
        for model in "aacc":
            scheduler.on_release(model)
        assert scheduler.resident["a"].yielding

        scheduler.cache.pinned.add("a")
        scheduler.on_look()
        scheduler.on_look()

        assert [name for name, held in scheduler.resident.items() if held.yielding] == ["c"]

    def test_one_that_dies_meanwhile_gives_its_place(self, scheduler, effects):
        """Its own waiters come after."""
        scheduler.on_doomed("a")
        scheduler.on_gone("a")
        scheduler.on_loaded("b", 1)
        scheduler.on_release("b")

        expected = [("load", "b"), ("grant", "r2", "b"), ("unload", "b")]
        assert effects.take() == expected

    def test_one_that_was_taken_back_begins_a_new_turn(self, effects):
        """What it gave before nobody waited counts no more."""
        scheduler = make_scheduler(effects, queue_max=8, turn_max=2, default_slots=1)
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "r1", "r2", "r3", "r4")
        ask(scheduler, "b1", model="b")
        scheduler.on_release("a")
        scheduler.on_release("a")
        assert scheduler.resident["a"].yielding
        scheduler.on_leave("b1")

        ask(scheduler, "c1", model="c")

        assert not scheduler.resident["a"].yielding

"""How a line keeps its order, and what one client may run while others wait."""

from __future__ import annotations

import pytest

from orion.scheduling import Waiter
from orion.scheduling.line import Line
from orion.scheduling.shares import Shares
from tests.fakes.effects import Recorder, ask, make_scheduler, resident
from tests.fakes.simulation import Simulation


def waiter(name: str, client: str = "", *, resuming: bool = False) -> Waiter:
    return Waiter(name, "a", client=client, tokens=10, resuming=resuming)


class TestLine:
    def test_first_come_first_served(self):
        """Whoever left is passed over."""
        line = Line()
        all_of_them = [waiter(f"r{number}") for number in range(4)]
        for one in all_of_them:
            line.add(one)
        line.remove(all_of_them[0])
        line.remove(all_of_them[2])

        assert line.first() is all_of_them[1]
        assert list(line) == [all_of_them[1], all_of_them[3]]
        assert (line.size, line.tokens) == (2, 20)

    def test_those_that_go_on_are_before_the_others(self):
        """In the order in which they came themselves."""
        line = Line()
        first, second, third = (
            waiter("r1"),
            waiter("r2", resuming=True),
            waiter("r3", resuming=True),
        )
        for one in (first, second, third):
            line.add(one)

        assert list(line) == [second, third, first]
        line.remove(second)
        assert line.first() is third

    def test_a_client_can_be_passed_over_where_another_waits(self):
        """And is not where nobody else does."""
        line = Line()
        mine, others = waiter("r1", "anna"), waiter("r2", "ben")
        line.add(mine)
        assert line.first(but={"anna"}) is mine
        line.add(others)

        assert line.first(but={"anna"}) is others
        assert line.first(but={"ben"}) is mine
        assert line.first(but={"anna", "ben"}) is mine

    def test_nobody_is_nobody(self):
        """An empty line has no first."""
        assert Line().first() is None

    def test_those_that_left_are_swept_out(self):
        """Also where the one in front stays for ever."""
        line = Line()
        line.add(waiter("stays", "anna"))
        for number in range(5000):
            one = waiter(f"r{number}", "anna")
            line.add(one)
            line.remove(one)

        assert line.size == 1
        assert len(line._order) + sum(map(len, line._by_client.values())) < 300


class TestShares:
    def test_they_count_what_runs_and_what_waits(self):
        """Together."""
        shares, one = Shares(), waiter("r1", "anna")
        shares.waits(one, share=4)
        shares.runs("anna")
        shares.runs("anna")
        assert (shares.held("anna"), shares.num_clients) == (3, 1)

        shares.left(one)
        shares.ended("anna", 2)

        assert (shares.held("anna"), shares.num_clients) == (0, 0)

    def test_the_newest_of_a_client_is_the_one_that_waited_the_least(self):
        """One that resumed is never it."""
        shares = Shares()
        assert shares.newest_of("anna") is None
        for name in ("r1", "r2"):
            shares.waits(waiter(name, "anna"), share=4)
        shares.waits(waiter("r3", "anna", resuming=True), share=4)

        newest = shares.newest_of("anna")
        assert newest is not None
        assert newest.request_id == "r2"

    def test_a_hog_is_one_no_longer_when_it_holds_less(self):
        """It is looked at again each time."""
        shares = Shares()
        held = [waiter(f"r{number}", "anna") for number in range(3)]
        for one in held:
            shares.waits(one, share=2)
        assert shares.hog(2) == "anna"

        shares.left(held[0])

        assert shares.hog(2) == ""


class TestRunningShare:
    @pytest.fixture
    def effects(self) -> Recorder:
        return Recorder()

    def test_while_others_wait_one_client_gets_half_of_the_slots(self, effects):
        """Its own later requests wait for its own earlier ones."""
        scheduler = make_scheduler(effects, default_slots=4, queue_max=16)
        ask(scheduler, "a1", "a2", "a3", "a4", client="anna")
        ask(scheduler, "b1", "b2", client="ben")

        scheduler.on_loaded("a", 4)

        assert effects.granted() == ["a1", "a2", "b1", "b2"]

    def test_alone_it_gets_all_of_them(self, effects):
        """Idle slots are nobody's."""
        scheduler = make_scheduler(effects, default_slots=4, queue_max=16)
        ask(scheduler, *(f"a{number}" for number in range(5)), client="anna")

        scheduler.on_loaded("a", 4)

        assert effects.granted() == ["a0", "a1", "a2", "a3"]

    def test_two_clients_over_two_slots_take_turns(self, effects):
        """Whichever of them began last: none gets both while the other waits."""
        scheduler = make_scheduler(effects, queue_max=16)
        resident(scheduler, effects, "a")
        ask(scheduler, "b1", client="ben")
        ask(scheduler, "a1", client="anna")
        ask(scheduler, "b2", client="ben")
        ask(scheduler, "a2", client="anna")
        effects.take()

        scheduler.on_release("a", "anna")
        scheduler.on_release("a", "ben")

        assert effects.granted() == ["a2", "b2"]

    def test_it_is_half_of_one_models_slots_however_many_places_are_free(self, effects):
        """What could run elsewhere is of no use to those that wait here."""
        scheduler = make_scheduler(effects, places=4, default_slots=4, queue_max=16)
        ask(scheduler, *(f"a{number}" for number in range(6)), client="anna")
        ask(scheduler, "b1", "b2", client="ben")

        scheduler.on_loaded("a", 4)

        assert effects.granted() == ["a0", "a1", "b1", "b2"]

    def test_nobody_in_particular_is_not_held_back(self, effects):
        """They are many, and first come, first served."""
        scheduler = make_scheduler(effects, default_slots=4, queue_max=16)
        ask(scheduler, "r1", "r2", "r3", "r4")
        ask(scheduler, "b1", client="ben")

        scheduler.on_loaded("a", 4)

        assert effects.granted() == ["r1", "r2", "r3", "r4"]

    def test_one_that_goes_on_is_not_held_back(self, effects):
        """Its slot was its own before."""
        scheduler = make_scheduler(effects, queue_max=16)
        resident(scheduler, effects, "a")
        ask(scheduler, "a1", "a2", client="anna")
        ask(scheduler, "b1", client="ben")
        effects.take()

        scheduler.on_handover(Waiter("a1", "a", client="anna"), "a")

        assert effects.granted() == ["a1"]

    def test_a_busy_client_cannot_slow_another_to_less_than_half(self):
        """Ten questions against one hundred: the ten are through when twenty have run."""
        world = Simulation(slots=2, queue_max=1000, queue_tokens=10**9)
        for number in range(100):
            world.ask(f"a{number}", client="anna")
        for number in range(10):
            world.ask(f"b{number}", client="ben")
        world.run()

        assert max(world.order.index(f"b{number}") for number in range(10)) <= 21
        assert [name for name in world.order if name[0] == "a"] == [f"a{n}" for n in range(100)]

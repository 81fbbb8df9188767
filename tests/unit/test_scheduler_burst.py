"""Whoever comes back when it was told to finds a place."""

from __future__ import annotations

import math

import pytest

from orion.errors import OrionError, OverloadedError, TooManyRequestsError
from tests.fakes.simulation import Simulation

CLIENTS = 1000


def burst(world: Simulation, num: int, **given: str) -> list[float]:
    """`num` ask at once; who is refused comes back once, when told. When each came back."""
    back_s: list[float] = []

    def heard(name: str, error: OrionError) -> None:
        assert isinstance(error, OverloadedError | TooManyRequestsError)
        if not name.endswith("again"):
            pause_s = math.ceil(error.facts["retry_after_s"])  # as the header says it
            back_s.append(pause_s)
            world.at(pause_s, lambda: world.ask(f"{name}-again", **given))

    world.heard = heard
    for number in range(num):
        world.ask(f"r{number}", **given)
    world.run()
    return back_s


def warmed(service_s: float, **given: int) -> Simulation:
    """A system whose answers were timed before the burst comes."""
    limits = {"slots": 2, "queue_max": 16} | given
    world = Simulation(service_s=service_s, load_s=2.0, **limits)
    for number in range(8):
        world.ask(f"early{number}")
    world.run()
    return world


class TestBurst:
    @pytest.mark.parametrize("service_s", [0.1, 0.5, 1.0, 3.0, 6.0])
    def test_a_thousand_at_once_and_nine_of_ten_get_in_at_their_first_retry(self, service_s):
        """Capacity 2 and 16 that wait: never more than 18 are held."""
        world = warmed(service_s)
        burst(world, CLIENTS)

        again = [name for name in world.came_s if name.endswith("again")]
        let_in = [name for name in again if name in world.began_s]
        assert world.held_max <= 18
        assert len(again) == CLIENTS - 18
        assert len(let_in) >= 0.9 * len(again)

    def test_those_that_got_in_did_not_only_find_an_empty_house(self):
        """The times told are not padded: the machine works most of the time meanwhile."""
        world = warmed(1.0)
        began_s = world.clock.now()
        burst(world, CLIENTS)

        answers = sum(name in world.began_s for name in world.came_s)
        busy = answers * world.service_s / 2
        assert busy >= 0.75 * (world.clock.now() - began_s)

    def test_a_system_nobody_has_measured_yet_keeps_its_word_too(self):
        """The first burst comes before the first answer, which takes what was assumed."""
        world = Simulation(slots=2, queue_max=16, service_s=5.0, load_s=2.0)
        burst(world, CLIENTS)

        again = [name for name in world.came_s if name.endswith("again")]
        assert sum(name in world.began_s for name in again) >= 0.9 * len(again)
        assert world.held_max <= 18

    def test_one_client_that_asks_for_everything_gets_in_too(self):
        """Its refusals say 429, and keep their word as well."""
        world = warmed(1.0)
        burst(world, 200, client="anna")

        again = [name for name in world.came_s if name.endswith("again")]
        assert sum(name in world.began_s for name in again) >= 0.9 * len(again)

    def test_each_is_told_another_time(self):
        """As many a second as there are answers, and not all at once."""
        world = warmed(1.0)
        back_s = burst(world, CLIENTS)

        at_once = max(back_s.count(pause_s) for pause_s in back_s)
        assert at_once <= 2
        assert back_s == sorted(back_s)

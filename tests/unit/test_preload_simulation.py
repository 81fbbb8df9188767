"""Preload on synthetic conversations: where it pays it stays, where it does not it goes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from orion.clock import ManualClock
from orion.preload import Preloader
from orion.settings import PredictionSettings
from tests.fakes.places import Places

LOAD_S = 4.0
THINK_S = 9.0
AGENTS = ("code", "poem", "talk")
Asked = tuple[str, str]


def turns(rng: random.Random, *, stay: float, sessions: int, length: int) -> Iterator[Asked]:
    """One conversation after the other; with probability `stay` the agent asked does not change."""
    for session in range(sessions):
        index = rng.randrange(len(AGENTS))
        for _ in range(length):
            yield f"session-{rng.random()}-{session}", AGENTS[index]
            index = index if rng.random() < stay else (index + 1) % len(AGENTS)


def conversations(rng: random.Random, **shape: float) -> list[Asked]:
    asked = list(turns(rng, **shape))  # type: ignore[arg-type]
    length = int(shape["length"])
    return [(asked[index - index % length][0], agent) for index, (_, agent) in enumerate(asked)]


@dataclass
class Played:
    """One run over a trace."""

    preloader: Preloader
    waited_s: float
    told: list[tuple[str, bool]]


def play(asked: list[Asked], *, enabled: bool = True, places: int = 1) -> Played:
    """Each agent has a model of its own; loads take less than the time between two messages."""
    clock = ManualClock()
    settings = PredictionSettings(enabled=enabled, window=20)
    preloader = Preloader(lambda agent: f"{agent}-model", settings, clock, structlog.get_logger())
    machine = Places(clock, preloader.on_event, num=places, load_s=LOAD_S)
    with structlog.testing.capture_logs() as lines:
        for session, agent in asked:
            model = f"{agent}-model"
            preloader.requested(session, agent, model)
            machine.ask(model)
            if ahead := preloader.after_answer(session):
                machine.prefetch(ahead)
            machine.think(THINK_S)
    told = [(line["event"], "reason" in line) for line in lines]
    return Played(preloader, machine.waited_s, told)


class TestTransitions:
    def test_habits_are_worth_a_preload(self) -> None:
        """Agents that follow each other: most waiting goes, and it never goes off."""
        asked = conversations(random.Random(1), stay=0.1, sessions=40, length=12)

        kept, ahead = play(asked, enabled=False), play(asked)

        ledger = ahead.preloader.stats()["transition"]
        assert ahead.waited_s < kept.waited_s / 3
        assert ledger["active"]
        assert ledger["switches"] == 0
        assert ledger["saved_s"] - ledger["lost_s"] == kept.waited_s - ahead.waited_s

    def test_people_who_change_their_ways_switch_it_off(self) -> None:
        """What was learned turns out wrong at once: a few swaps are lost, then none."""
        rng = random.Random(2)
        learned = conversations(rng, stay=0.0, sessions=40, length=12)
        changed = conversations(rng, stay=1.0, sessions=120, length=2)

        kept, ahead = play(learned + changed, enabled=False), play(learned + changed)
        before = play(learned)
        lost_s = (ahead.waited_s - before.waited_s) - (
            kept.waited_s - play(learned, enabled=False).waited_s
        )

        ledger = ahead.preloader.stats()["transition"]
        assert not ledger["active"]
        assert ("preload.off", True) in ahead.told
        assert "keeping the last model" in ahead.preloader.stats()["reason"]
        assert lost_s <= 20 * LOAD_S

    def test_it_comes_back_when_the_habits_do(self) -> None:
        """It went on predicting silently; off once, on once."""
        rng = random.Random(3)
        habit = {"stay": 0.0, "sessions": 40, "length": 12}
        changed = conversations(rng, stay=1.0, sessions=60, length=2)

        played = play([*conversations(rng, **habit), *changed, *conversations(rng, **habit)])

        assert [event for event, _ in played.told] == ["preload.off", "preload.on"]
        assert played.preloader.stats()["transition"]["active"]

    def test_no_habit_predicts_nothing(self) -> None:
        """Three agents at random are no better than one third sure of."""
        asked = conversations(random.Random(4), stay=0.34, sessions=40, length=12)
        mixed = [
            (session, random.Random(index).choice(AGENTS))
            for index, (session, _) in enumerate(asked)
        ]

        kept, ahead = play(mixed, enabled=False), play(mixed)

        assert ahead.waited_s <= kept.waited_s + 20 * LOAD_S

    def test_where_every_model_has_a_place_nothing_is_lost(self) -> None:
        """Then a wrong preload displaces nobody."""
        asked = conversations(random.Random(5), stay=0.3, sessions=20, length=12)

        ahead = play(asked, places=3)

        assert ahead.preloader.stats()["transition"]["lost_s"] == 0.0

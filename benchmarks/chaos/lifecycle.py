"""G23: random walks over the states of a request, against a table written by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from statemachine.exceptions import TransitionNotAllowed

from benchmarks.chaos.ground import seeded
from benchmarks.chaos.table import Row
from orion.clock import ManualClock
from orion.lifecycle import RequestMachine
from orion.types import RequestState as S

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

WALKS, SMOKE_WALKS, STEPS = 10_000, 200, 60

_ENDS = frozenset({S.ERROR, S.CANCELLED})
LEGAL: Mapping[S, frozenset[S]] = {
    S.IDLE: _ENDS | {S.VALIDATING},
    S.VALIDATING: _ENDS | {S.ROUTING},
    S.ROUTING: _ENDS | {S.CACHE_LOOKUP},
    S.CACHE_LOOKUP: _ENDS | {S.LOADING_AGENT, S.SUCCESS},
    S.LOADING_AGENT: _ENDS | {S.INFERENCING, S.FALLBACK},
    S.INFERENCING: _ENDS | {S.FALLBACK, S.SUCCESS},
    S.FALLBACK: _ENDS | {S.LOADING_AGENT},
    S.SUCCESS: frozenset(),
    S.ERROR: frozenset(),
    S.CANCELLED: frozenset(),
}
"""Where a request may go from each state: the contract, not a copy of the code."""

_ILLEGAL, _ENDING = 0.5, 0.05


@dataclass(slots=True)
class _Found:
    """What the walks came to."""

    illegal: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    taken: set[tuple[S, S]] = field(default_factory=set)
    fell: int = 0
    endless: int = 0


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of the state machine."""
    random = seeded(seed)
    walks = SMOKE_WALKS if smoke else WALKS
    found = _Found()
    for _ in range(walks):
        _walk(random, found)
    pairs = sum(len(targets) for targets in LEGAL.values())
    met = not (found.illegal or found.refused or found.fell or found.endless)
    return [
        Row(
            "G23",
            f"states of a request: {walks:,} random walks of {STEPS} steps",
            "no illegal move, no legal one refused, each walk ends, time never falls",
            f"{len(found.illegal)} illegal, {len(found.refused)} refused, {found.endless} without "
            f"an end, {found.fell} fell; {len(found.taken)} of {pairs} moves taken",
            met and (smoke or len(found.taken) == pairs),
            {"seed": seed, "illegal": found.illegal[:10], "refused": found.refused[:10]},
        )
    ]


def _walk(random: Random, found: _Found) -> None:
    """Sixty tries, half of them illegal; one that has ended must stay where it is."""
    clock = ManualClock(random.uniform(0.0, 1e6))
    machine = RequestMachine(clock)
    told_s = machine.elapsed_s
    for _ in range(STEPS):
        here, there = machine.state, _somewhere(random, machine.state)
        clock.advance(random.uniform(0.0, 1.0))
        done = _enter(machine, there)
        if done:
            found.taken.add((here, there))
        if done and there not in LEGAL[here]:
            found.illegal.append(f"{here} to {there}")
        elif not done and there in LEGAL[here]:
            found.refused.append(f"{here} to {there}")
        found.fell += machine.elapsed_s < told_s or machine.state is not (there if done else here)
        told_s = machine.elapsed_s
    if not machine.is_over:
        found.endless += not _enter(machine, random.choice(sorted(_ENDS)))
    found.endless += not machine.is_over


def _somewhere(random: Random, here: S) -> S:
    """Half the tries are illegal, and few of the others end the walk."""
    targets = LEGAL[here]
    if not targets or random.random() < _ILLEGAL:
        return random.choice(sorted(set(S) - targets))
    going_on = sorted(targets - _ENDS - {S.SUCCESS})
    if not going_on or random.random() < _ENDING:
        return random.choice(sorted(targets & (_ENDS | {S.SUCCESS})))
    return random.choice(going_on)


def _enter(machine: RequestMachine, state: S) -> bool:
    try:
        machine.enter(state)
    except TransitionNotAllowed:
        return False
    return True

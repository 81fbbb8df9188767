"""G23: random walks over the states of a request, against a table written by hand."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from statemachine.exceptions import TransitionNotAllowed

from benchmarks.chaos.table import Row
from orion.clock import ManualClock
from orion.lifecycle import RequestMachine
from orion.types import RequestState as S

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of the state machine."""
    random = Random(seed)
    walks = SMOKE_WALKS if smoke else WALKS
    illegal: list[str] = []
    refused: list[str] = []
    fallen = endless = steps = 0
    seen: set[tuple[S, S]] = set()
    for _ in range(walks):
        clock = ManualClock(random.uniform(0.0, 1e6))
        machine = RequestMachine(clock)
        told_s = machine.elapsed_s
        for _ in range(STEPS):
            here, there = machine.state, random.choice(list(S))
            may = there in LEGAL[here]
            if not may and random.random() < 0.5:  # noqa: PLR2004 - half the steps go somewhere
                there = random.choice(sorted(LEGAL[here] - _ENDS or LEGAL[here] or {there}))
                may = there in LEGAL[here]
            clock.advance(random.uniform(0.0, 1.0))
            done = _enter(machine, there)
            steps += 1
            if done:
                seen.add((here, there))
            if done and not may:
                illegal.append(f"{here} to {there}")
            elif may and not done:
                refused.append(f"{here} to {there}")
            fallen += machine.elapsed_s < told_s or machine.path[-1] != machine.state
            told_s = machine.elapsed_s
            if machine.is_over:
                break
        endless += not machine.is_over and not _enter(machine, random.choice(sorted(_ENDS)))
        fallen += any(_enter(machine, state) for state in S)  # nothing follows an end
    pairs = sum(len(targets) for targets in LEGAL.values())
    met = not (illegal or refused or fallen or endless)
    return [
        Row(
            "G23",
            f"states of a request: {walks:,} random walks of up to {STEPS} steps",
            "no illegal move, no legal one refused, each walk ends, time never falls",
            f"{len(illegal)} illegal, {len(refused)} refused, {endless} without an end, {fallen} "
            f"fell; {len(seen)} of {pairs} moves taken in {steps:,} steps",
            met and (smoke or len(seen) == pairs),
            {"seed": seed, "illegal": illegal[:10], "refused": refused[:10]},
        )
    ]


def _enter(machine: RequestMachine, state: S) -> bool:
    try:
        machine.enter(state)
    except TransitionNotAllowed:
        return False
    return True

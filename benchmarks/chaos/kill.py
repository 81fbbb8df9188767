"""G1: `kill -9` of a worker at a random token of its answers."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.asking import Asked, told
from benchmarks.chaos.fate import GOOD, Fate, fate_of, in_words, tally
from benchmarks.chaos.ground import (
    CHAT,
    CODE,
    MAIN,
    MODEL_OF,
    PATIENT,
    Journal,
    engine_on_model,
    engine_on_script,
    pool,
    quiet_row,
    seeded,
)
from benchmarks.chaos.health_watch import ALL, SOME, HealthWatch, of_engine, truth_row
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import percentile, seconds, until, worst
from orion.types import ErrorEvent

if TYPE_CHECKING:
    from random import Random

    from orion.engine import Engine

KILLS, SMOKE_KILLS, REAL_KILLS = 200, 8, 10
END_MAX_S, BACK_MAX_S, REAL_SLACK_S = 2.0, 5.0, 2.0
_LIMIT_S = 30.0
_TOKENS_MAX = 30
_SIBLING_TOKENS = 50
_LOADS = {"fake": {"load_s": 0.4}}  # long enough for the probes to see that a worker is missing


@dataclass(slots=True)
class _Log:
    """What every kill came to."""

    hit: list[Fate] = field(default_factory=list)
    spared: list[Fate] = field(default_factory=list)
    end_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    odd: list[dict[str, Any]] = field(default_factory=list)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of `kill -9`."""
    kills, journal, log = (SMOKE_KILLS if smoke else KILLS), Journal(), _Log()
    random = seeded(seed)
    with engine_on_script(journal, breaker=PATIENT, runtime_options=_LOADS) as engine:
        for agent in (CHAT, CODE):
            engine.load(agent)
        with HealthWatch(of_engine(engine)) as watch:
            for number in range(kills):
                _kill(engine, random, number, log, watch)
    rows = [*_rows(log, kills, seed), truth_row([watch], "a worker is killed")]
    rows.append(quiet_row("G1", journal, "kill -9"))
    return rows if smoke else [*rows, *_real_rows(random)]


def _kill(engine: Engine, random: Random, number: int, log: _Log, watch: HealthWatch) -> None:
    agent, other = random.sample([CHAT, CODE], 2)
    num_tokens = random.randint(8, _TOKENS_MAX)
    at = random.randint(0, num_tokens)
    # Killed at "token 0", the worker is still reading the prompt.
    script = f"tokens={num_tokens} delay=0.01 prefill={0.3 if at == 0 else 0.02}"
    hit = [
        Asked(engine, f"kill {number}.{index} {script}", agent=agent)
        for index in range(random.randint(1, 2))
    ]
    script = f"tokens={_SIBLING_TOKENS} delay=0.015"
    spared = [Asked(engine, f"spare {number}.{i} {script}", agent=other) for i in range(2)]
    hit[0].reached(at, _LIMIT_S)
    if spared[0].reached(1, _LIMIT_S):
        spared[1].reached(1, _LIMIT_S)
    before = pool(engine)
    os.kill(before[MODEL_OF[agent]], signal.SIGKILL)
    killed_s = time.monotonic()
    watch.expect(SOME, killed_s)
    log.back_s.append(
        until(lambda: _is_back(engine, before, MODEL_OF[agent]), _LIMIT_S, since_s=killed_s)
    )
    watch.expect(ALL)
    for asked in (*hit, *spared):
        asked.wait(_LIMIT_S)
    for asked in hit:
        _note(log.hit, fate_of(asked, num_tokens), asked, log, GOOD)
        log.end_s.append(max(0.0, asked.ended_s - killed_s))
    for asked in spared:
        _note(log.spared, fate_of(asked, _SIBLING_TOKENS), asked, log, {Fate.WHOLE})


def _is_back(engine: Engine, before: dict[str, int], model: str) -> bool:
    now = pool(engine)
    return now.keys() == before.keys() and now[model] != before[model]


def _note(
    fates: list[Fate], fate: Fate, asked: Asked, log: _Log, wanted: frozenset[Fate] | set[Fate]
) -> None:
    fates.append(fate)
    if fate not in wanted:
        log.odd.append({"fate": str(fate), **told(asked)})


def _rows(log: _Log, kills: int, seed: int) -> list[Row]:
    details = {"seed": seed, "kills": kills, "odd": log.odd[:20]}
    good = sum(fate in GOOD for fate in log.hit)
    whole = sum(fate is Fate.WHOLE for fate in log.spared)
    back = sum(took_s < _LIMIT_S for took_s in log.back_s)
    return [
        Row(
            "G1",
            f"kill -9 of a worker at a random token, {kills} times",
            "each stream: whole by the fallback, or partial and marked; no token twice or lost",
            f"{good} of {len(log.hit)}: {in_words(log.hit)}",
            good == len(log.hit),
            {**details, "fates": tally(log.hit)},
        ),
        Row(
            "G1",
            "its streams end after the kill",
            f"each ≤ {END_MAX_S:g} s",
            f"median {seconds(percentile(log.end_s, 50))}, longest {seconds(worst(log.end_s))}",
            worst(log.end_s) <= END_MAX_S,
            {"timing": True, "p99_s": percentile(log.end_s, 99)},
        ),
        Row(
            "G1",
            "streams of the worker beside it",
            "each whole, none touched",
            f"{whole} of {len(log.spared)}",
            whole == len(log.spared),
            details,
        ),
        Row("G1", "the pool is back at its size", "each time", f"{back} of {kills}", back == kills),
        Row(
            "G1",
            "time until the pool is back",
            f"each ≤ {BACK_MAX_S:g} s",
            f"median {seconds(percentile(log.back_s, 50))}, longest {seconds(worst(log.back_s))}",
            worst(log.back_s) <= BACK_MAX_S,
            {"timing": True},
        ),
    ]


def _real_rows(random: Random) -> list[Row]:
    """The same with the embedded model: the pool is back after one load."""
    back_s: list[float] = []
    end_s: list[float] = []
    marked = 0
    with engine_on_model(breaker=PATIENT) as engine:
        begun_s = time.monotonic()
        engine.load(CHAT)
        load_s = time.monotonic() - begun_s
        for number in range(REAL_KILLS):
            asked = Asked(engine, f"Tell me story number {number}.", agent=CHAT, max_tokens=400)
            asked.reached(random.randint(1, 20), _LIMIT_S)
            before = pool(engine)
            os.kill(before[MAIN], signal.SIGKILL)
            killed_s = time.monotonic()
            took_s = until(
                lambda before=before: _is_back(engine, before, MAIN),  # type: ignore[misc]
                _LIMIT_S,
                since_s=killed_s,
            )
            back_s.append(took_s)
            asked.wait(_LIMIT_S)
            end_s.append(asked.ended_s - killed_s)
            marked += isinstance(asked.end, ErrorEvent) and asked.end.text == asked.text != ""
    return [
        Row(
            "G1",
            f"the embedded model: kill -9 in an answer, {REAL_KILLS} times",
            f"partial and marked, ended ≤ {END_MAX_S:g} s, back ≤ load + {REAL_SLACK_S:g} s",
            f"{marked} marked, ended ≤ {seconds(worst(end_s))}, back ≤ {seconds(worst(back_s))} "
            f"(load {seconds(load_s)})",
            marked == REAL_KILLS
            and worst(end_s) <= END_MAX_S
            and worst(back_s) <= load_s + REAL_SLACK_S,
            {"back_s": back_s, "end_s": end_s, "load_s": load_s},
        )
    ]

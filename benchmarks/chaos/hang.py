"""G2: a worker is stopped (SIGSTOP) in an answer, while it reads a prompt, or idle."""

from __future__ import annotations

import contextlib
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
    MODEL_OF,
    PATIENT,
    Journal,
    engine_on_script,
    pool,
    quiet_row,
    seeded,
)
from benchmarks.chaos.health_watch import ALL, SOME, HealthWatch, of_engine, truth_row
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import is_gone, percentile, seconds, until, worst

if TYPE_CHECKING:
    from random import Random

    from orion.engine import Engine

HANGS, SMOKE_HANGS = 50, 2
REPLACED_MAX_S = 3.0
_LIMIT_S = 30.0
_TOKENS = 30
_SIBLING_TOKENS = 60
_MOMENTS = ("answering", "reading", "idle")


@dataclass(slots=True)
class _Log:
    """What every stop came to."""

    callers: list[Fate] = field(default_factory=list)
    spared: list[Fate] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    told_s: list[float] = field(default_factory=list)
    woken: int = 0
    odd: list[dict[str, Any]] = field(default_factory=list)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of hangs."""
    hangs, journal, log = (SMOKE_HANGS if smoke else HANGS), Journal(), _Log()
    random = seeded(seed)
    with engine_on_script(journal, breaker=PATIENT) as engine:
        for agent in (CHAT, CODE):
            engine.load(agent)
        with HealthWatch(of_engine(engine)) as watch:
            for number in range(hangs):
                _stop(engine, random, number, log, watch)
    return [
        *_rows(log, hangs, seed),
        truth_row([watch], "a worker is stopped"),
        quiet_row("G2", journal, "SIGSTOP"),
    ]


def _stop(engine: Engine, random: Random, number: int, log: _Log, watch: HealthWatch) -> None:
    name = f"{number} {_MOMENTS[number % len(_MOMENTS)]}"
    agent, other = random.sample([CHAT, CODE], 2)
    caller = None
    spared = Asked(engine, f"spare {name} tokens={_SIBLING_TOKENS} delay=0.02", agent=other)
    if "idle" not in name:
        prefill_s = 0.5 if "reading" in name else 0.02
        script = f"tokens={_TOKENS} delay=0.02 prefill={prefill_s}"
        caller = Asked(engine, f"hang {name} {script}", agent=agent)
        caller.reached(0 if "reading" in name else random.randint(1, _TOKENS // 2), _LIMIT_S)
    before = pool(engine)
    pid = before[MODEL_OF[agent]]
    os.kill(pid, signal.SIGSTOP)
    stopped_s = time.monotonic()
    watch.expect(SOME, stopped_s)
    if number % 2:  # every other one goes on, too late
        until(lambda: pool(engine).get(MODEL_OF[agent]) != pid, _LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            log.woken += 1
    log.gone_s.append(until(lambda: is_gone(pid), _LIMIT_S, since_s=stopped_s))
    log.back_s.append(until(lambda: _is_replaced(engine, before, pid), _LIMIT_S, since_s=stopped_s))
    watch.expect(ALL)
    spared.wait(_LIMIT_S)
    _note(log.spared, fate_of(spared, _SIBLING_TOKENS), spared, {Fate.WHOLE}, log)
    if caller is not None:
        caller.wait(_LIMIT_S)
        log.told_s.append(caller.ended_s - stopped_s)
        _note(log.callers, fate_of(caller, _TOKENS), caller, GOOD, log)


def _is_replaced(engine: Engine, before: dict[str, int], pid: int) -> bool:
    now = pool(engine)
    return now.keys() == before.keys() and pid not in now.values()


def _note(
    fates: list[Fate], fate: Fate, asked: Asked, wanted: frozenset[Fate] | set[Fate], log: _Log
) -> None:
    fates.append(fate)
    if fate not in wanted:
        log.odd.append({"fate": str(fate), **told(asked)})


def _rows(log: _Log, hangs: int, seed: int) -> list[Row]:
    replaced = sum(took_s < _LIMIT_S for took_s in log.back_s)
    good = sum(fate in GOOD for fate in log.callers)
    whole = sum(fate is Fate.WHOLE for fate in log.spared)
    details = {"seed": seed, "hangs": hangs, "woken": log.woken, "odd": log.odd[:20]}
    return [
        Row(
            "G2",
            f"SIGSTOP of a worker, {hangs} times ({log.woken} woken too late)",
            "found, killed and replaced, each",
            f"{replaced} of {hangs}",
            replaced == hangs,
            details,
        ),
        Row(
            "G2",
            "time until it is replaced",
            f"each ≤ {REPLACED_MAX_S:g} s (heartbeat limit 2 s + 1 s)",
            f"median {seconds(percentile(log.back_s, 50))}, longest {seconds(worst(log.back_s))}",
            worst(log.back_s) <= REPLACED_MAX_S,
            {"timing": True, "gone_s": percentile(log.gone_s, 50), "gone_max": worst(log.gone_s)},
        ),
        Row(
            "G2",
            "its callers",
            "each: whole by the fallback, or partial and marked",
            f"{good} of {len(log.callers)}: {in_words(log.callers)}; told ≤ "
            f"{seconds(worst(log.told_s))}",
            good == len(log.callers),
            {**details, "fates": tally(log.callers)},
        ),
        Row(
            "G2",
            "streams of the worker beside it",
            "each whole, none touched",
            f"{whole} of {len(log.spared)}",
            whole == len(log.spared),
            details,
        ),
    ]

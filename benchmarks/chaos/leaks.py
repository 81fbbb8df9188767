"""G22: thousands of faults and cancels; afterwards what is free and what is used make the whole."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.asking import Asked, told
from benchmarks.chaos.fate import Fate, fate_of, in_words
from benchmarks.chaos.ground import CHAT, CODE, Journal, engine_on_script, pool, quiet_row, seeded
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import seconds, until
from orion.errors import OrionError

if TYPE_CHECKING:
    from random import Random

    from orion.engine import Engine

FAULTS, SMOKE_FAULTS = 5000, 100
LETHAL_SHARE = 0.04
_THREADS = 8
_TOKENS = 6
_LIMIT_S = 60.0
_SETTLE_S = 15.0
_SOFT = ("fail", "oom", "empty", "cancel", "close", "deadline", "long", "unknown", "unload", "none")
_LETHAL = ("die", "exit", "garbage", "half", "wrong", "dup", "flood", "kill")
_GROWING = ("threads", "files")
_BAD = frozenset({Fate.HUNG, Fate.WRONG, Fate.UNKNOWN})
_SETTINGS: dict[str, Any] = {
    # Breakers that open and close all the time: refusals and trials are ways out as well.
    "breaker": {"failures": 3, "break_s": 0.05, "break_max_s": 0.1},
    "deadline": {"generate_s": 0.5, "request_s": 30.0},
    "queue_max": 2,
}


@dataclass(slots=True)
class _Log:
    """What every fault came to, and what was left of them all."""

    fates: list[Fate] = field(default_factory=list)
    odd: list[dict[str, Any]] = field(default_factory=list)
    left: dict[str, Any] = field(default_factory=dict)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of leaks: most in threads of this process, some in processes of their own."""
    faults = SMOKE_FAULTS if smoke else FAULTS
    lethal = max(len(_LETHAL), round(faults * LETHAL_SHARE))
    journal = Journal()
    rows: list[Row] = []
    for where, executor, kinds, count in (
        ("in threads", "inprocess", _SOFT, faults - lethal),
        ("in processes", "spawn", (*_LETHAL, *_SOFT), lethal),
    ):
        log = _Log()
        with engine_on_script(journal, executor=executor, **_SETTINGS) as engine:
            _strike(engine, kinds, count, seed, log)
        rows += _rows(where, log, count, seed)
    return [*rows, quiet_row("G22", journal, "faults and cancels")]


def _strike(engine: Engine, kinds: tuple[str, ...], count: int, seed: int, log: _Log) -> None:
    for agent in (CHAT, CODE):
        engine.ask("warm tokens=1", agent=agent)
    before = _held(engine)
    threads = [
        threading.Thread(
            target=_faults, args=(engine, kinds, range(first, count, _THREADS), seed, log)
        )
        for first in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.reset_breakers()
    settled_s = until(lambda: _is_settled(engine, before), _SETTLE_S)
    log.left = {"settled_s": settled_s, "before": before, **_held(engine), **_fill(engine)}


def _faults(engine: Engine, kinds: tuple[str, ...], numbers: range, seed: int, log: _Log) -> None:
    for number in numbers:
        random = seeded(f"{seed}.{number}")
        kind = kinds[number % len(kinds)]
        asked = _fault(engine, random, kind, number)
        if not asked.wait(_LIMIT_S):
            asked.leave()
        fate = Fate.CANCELLED if kind == "close" and asked.end is None else _fate(asked, kind)
        log.fates.append(fate)
        if fate in _BAD or asked.broke:
            log.odd.append({"kind": kind, "fate": str(fate), **told(asked)})


def _fate(asked: Asked, kind: str) -> Fate:
    num_tokens = 1000 if kind == "deadline" else _TOKENS
    return fate_of(asked, num_tokens, lies=kind in {"dup", "flood"})


def _fault(engine: Engine, random: Random, kind: str, number: int) -> Asked:
    """Ask for something that goes wrong in one way, or have somebody meddle with it."""
    agent = random.choice([CHAT, CODE])
    at = random.randint(0, _TOKENS - 1)
    script = f"leak {number} tokens={_TOKENS} delay=0.003"
    request_id = f"leaks-{number}"
    if kind == "deadline":
        script = f"slow {number} tokens=1000 delay=0.1"
    elif kind == "empty":
        script += " empty"
    elif kind == "long":
        script += " word" * 5000
    elif kind == "unknown":
        agent = "nobody"
    elif kind in {"fail", "oom", "die", "exit", "garbage", "half", "wrong", "dup", "flood"}:
        script += f" {kind}={at}"
    asked = Asked(engine, script, agent=agent, request_id=request_id, max_tokens=1000)
    if kind in {"cancel", "close", "unload", "kill"}:
        time.sleep(random.uniform(0.0, 0.02))
        _meddle(engine, asked, kind, request_id, agent)
    return asked


def _meddle(engine: Engine, asked: Asked, kind: str, request_id: str, agent: str) -> None:
    if kind == "cancel":
        engine.cancel(request_id)
    elif kind == "close":
        asked.leave()
    elif kind == "unload":
        with contextlib.suppress(OrionError):
            engine.unload(agent)
    else:
        for pid in pool(engine).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _held(engine: Engine) -> dict[str, Any]:
    """Everything that somebody could have forgotten to give back."""
    stats = engine.stats()
    known = stats["breakers"]
    counted = ("successes", "failures_total", "ignored", "in_flight")
    return {
        "in_flight": stats["requests"]["in_flight"],
        "leases": stats["requests"]["running"],
        "waiting": stats["queue"]["waiting"],
        "jobs": sum(int(worker["active"]) for worker in stats["workers"]),
        "permits": sum(int(entry["in_flight"]) for entry in known),
        "trials": sum(bool(entry["trial_in_flight"]) for entry in known),
        "uncounted": sum(
            entry["admitted"] - sum(int(entry[name]) for name in counted) for entry in known
        ),
        "threads": threading.active_count(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


def _is_settled(engine: Engine, before: dict[str, Any]) -> bool:
    for agent in (CHAT, CODE):  # one that was unloaded comes back, so that threads compare
        with contextlib.suppress(OrionError):
            engine.ask("settle tokens=1", agent=agent)
    now = _held(engine)
    return all(
        value <= before[name] if name in _GROWING else value == before[name]
        for name, value in now.items()
    )


def _fill(engine: Engine) -> dict[str, Any]:
    """As many answers as there is room for, all at once: does each of them run?"""
    capacity = int(engine.stats()["requests"]["capacity"])
    asked = [
        Asked(engine, f"fill {index} tokens=1000 delay=0.05", agent=(CHAT, CODE)[index % 2])
        for index in range(capacity)
    ]
    until(lambda: engine.stats()["requests"]["running"] == capacity, _SETTLE_S)
    running = int(engine.stats()["requests"]["running"])
    for one in asked:
        one.leave()
    for one in asked:
        one.wait(_LIMIT_S)
    return {"capacity": capacity, "filled": running}


def _rows(where: str, log: _Log, count: int, seed: int) -> list[Row]:
    left = log.left
    bad = sum(fate in _BAD for fate in log.fates) + sum(bool(odd["broke"]) for odd in log.odd)
    names = ("leases", "waiting", "jobs", "permits", "trials", "uncounted", "in_flight")
    drift = {name: left[name] - left["before"][name] for name in names}
    threads, files = (left[name] - left["before"][name] for name in _GROWING)
    is_whole = left["filled"] == left["capacity"] > 0
    return [
        Row(
            "G22",
            f"{count} faults and cancels {where}: what is left",
            "nothing held, threads and files as before, every slot usable",
            f"{sum(map(abs, drift.values()))} held, threads {threads:+d}, files {files:+d}, "
            f"{left['filled']} of {left['capacity']} slots run; settled in "
            f"{seconds(left['settled_s'])}",
            not any(drift.values()) and threads <= 0 and files <= 0 and is_whole,
            {"seed": seed, "drift": drift, "left": left},
        ),
        Row(
            "G22",
            f"how they ended, {where}",
            "each with an answer or a documented error",
            f"{bad} bad: {in_words(log.fates)}",
            bad == 0 and len(log.fates) == count,
            {"odd": log.odd[:20]},
        ),
    ]

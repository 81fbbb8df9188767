"""G19: models loaded and unloaded a hundred times; what the parent keeps of it."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.chaos.ground import (
    CHAT,
    CODE,
    Journal,
    engine_on_model,
    engine_on_script,
    quiet_row,
)
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import is_gone, slope
from benchmarks.process import child_pids, rss_bytes

if TYPE_CHECKING:
    from orion.engine import Engine

CYCLES, SMOKE_CYCLES = 100, 10
REAL_CYCLES = 10
SLOPE_MAX_BYTES = 50_000
_WARM_CYCLES = 5  # the first loads fill caches of the interpreter that stay as they are
_SHM = Path("/dev/shm")  # noqa: S108 - only listed


@dataclass(slots=True)
class _Log:
    """One entry per cycle, after its unload."""

    rss: list[tuple[float, float]] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    shm: list[int] = field(default_factory=list)
    left: int = 0


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of churn; nothing in it is drawn by lot."""
    journal = Journal()
    cycles = SMOKE_CYCLES if smoke else CYCLES
    with engine_on_script(journal) as engine:
        scripted = _cycle(engine, cycles)
    rows = _rows("the scripted model", scripted, cycles, seed)
    if not smoke:
        with engine_on_model() as engine:
            real = _cycle(engine, REAL_CYCLES)
        rows += _rows("the embedded model", real, REAL_CYCLES, seed)
    return [*rows, quiet_row("G19", journal, "loads and unloads")]


def _cycle(engine: Engine, cycles: int) -> _Log:
    log, before = _Log(), child_pids(os.getpid())
    for number in range(-_WARM_CYCLES, cycles):
        agent = CHAT if number % 2 else CODE
        engine.load(agent)
        engine.ask(f"cycle {number} tokens=3", agent=agent, max_tokens=3)
        pids = [int(worker["pid"]) for worker in engine.stats()["workers"]]
        engine.unload(agent)
        log.left += sum(not is_gone(pid) for pid in pids)
        if number >= 0:
            _look(log, number)
    log.left += len(child_pids(os.getpid()) - before)
    return log


def _look(log: _Log, number: int) -> None:
    gc.collect()
    pid = os.getpid()
    log.rss.append((float(number), float(rss_bytes(pid))))
    log.fds.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
    log.threads.append(threading.active_count())
    with contextlib.suppress(OSError):
        log.shm.append(len(list(_SHM.iterdir())))


def _rows(where: str, log: _Log, cycles: int, seed: int) -> list[Row]:
    per_cycle = slope(log.rss)
    fds, threads, shm = (_growth(counts) for counts in (log.fds, log.threads, log.shm))
    details = {"seed": seed, "fds": log.fds[-1], "threads": log.threads[-1], "warm": _WARM_CYCLES}
    return [
        Row(
            "G19",
            f"{cycles} loads and unloads of {where}",
            "files, threads and /dev/shm flat, no process left",
            f"files {fds:+d}, threads {threads:+d}, shm {shm:+d}, {log.left} processes",
            fds <= 0 and threads <= 0 and shm <= 0 and not log.left,
            details,
        ),
        Row(
            "G19",
            f"memory of the parent, {where}",
            f"slope < {SLOPE_MAX_BYTES / 1000:g} kB a cycle",
            f"{per_cycle / 1000:+.1f} kB a cycle",
            per_cycle < SLOPE_MAX_BYTES,
            {"timing": cycles < CYCLES, "first": log.rss[0][1], "last": log.rss[-1][1]},
        ),
    ]


def _growth(counts: list[int]) -> int:
    """How much the least of the last cycles exceeds the least of the first ones."""
    if not counts:
        return 0
    few = max(1, len(counts) // 4)
    return min(counts[-few:]) - min(counts[:few])

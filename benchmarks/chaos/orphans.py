"""G13: the app is killed with SIGKILL; its workers must not outlive it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.chaos.ground import CHAT, CODE, Journal, ScriptedApp, pool_of, seeded
from benchmarks.chaos.http_client import Reply, ask, body_of, call
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import all_gone, percentile, seconds, until, worst
from benchmarks.process import child_pids

if TYPE_CHECKING:
    from random import Random

KILLS, SMOKE_KILLS = 50, 2
GONE_MAX_S = 2.0
_LIMIT_S = 20.0
_HOW = ("answering", "one stopped", "idle", "reading")


@dataclass(slots=True)
class _Log:
    """What every SIGKILL of the app came to."""

    gone_s: list[float] = field(default_factory=list)
    workers: int = 0
    survivors: int = 0


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of a killed app."""
    kills, random, log = (SMOKE_KILLS if smoke else KILLS), seeded(seed), _Log()
    for number in range(kills):
        with TemporaryDirectory(prefix="orion-chaos-") as folder:
            _kill(Path(folder), random, number, log)
    return [
        Row(
            "G13",
            f"SIGKILL of the app, {kills} times: answering, idle, reading, a worker stopped",
            "no worker outlives it",
            f"{log.survivors} of {log.workers} processes left after {GONE_MAX_S:g} s",
            log.survivors == 0 and log.workers > 0,
            {"seed": seed, "workers": log.workers},
        ),
        Row(
            "G13",
            "time until its workers are gone",
            f"each ≤ {GONE_MAX_S:g} s",
            f"median {seconds(percentile(log.gone_s, 50))}, longest {seconds(worst(log.gone_s))}",
            worst(log.gone_s) <= GONE_MAX_S,
            {"timing": True},
        ),
    ]


def _kill(folder: Path, random: Random, number: int, log: _Log) -> None:
    how = _HOW[number % len(_HOW)]
    script = "prefill=60 deaf" if how == "reading" else "tokens=3000 delay=0.01"
    with ScriptedApp(folder, Journal()) as app:
        app.wait_ready()
        ask(app.port, body_of(f"wake {number} tokens=1", CODE))
        if how != "idle":
            for agent in (CHAT, CODE):
                _leave_asking(app.port, f"orphan {number} {script}", agent)
        time.sleep(random.uniform(0.0, 0.3))
        workers = child_pids(app.pid)
        if how == "one stopped":
            os.kill(
                random.choice(sorted(pool_of(call(app.port, "status")).values())), signal.SIGSTOP
            )
        app.child.process.kill()
        killed_s = time.monotonic()
        app.child.process.wait()
        took_s = until(lambda: all_gone(workers), _LIMIT_S, since_s=killed_s)
        log.gone_s.append(took_s)
        log.workers += len(workers)
        if took_s > GONE_MAX_S:
            log.survivors += sum(not all_gone([pid]) for pid in workers) or 1
        for pid in workers:  # a survivor is ours to end
            if not all_gone([pid]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _leave_asking(port: int, message: str, agent: str) -> None:
    """Ask on a thread and go on once it runs."""
    reply, body = Reply(), body_of(message, agent, max_tokens=4000)
    threading.Thread(target=ask, args=(port, body), kwargs={"into": reply}, daemon=True).start()
    until(lambda: _running(port, agent), _LIMIT_S)


def _running(port: int, agent: str) -> bool:
    requests = call(port, "status")["requests"]
    return int(requests["running"]) >= (1 if agent == CHAT else 2)

"""G12: SIGTERM while answers are under way, once and twice."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.fate import Fate, fate_of_reply, in_words
from benchmarks.chaos.ground import CHAT, CODE, Journal, ScriptedApp, quiet_row, seeded
from benchmarks.chaos.http_client import Reply, ask, body_of
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import all_gone, seconds, until, worst
from benchmarks.process import child_pids

if TYPE_CHECKING:
    from random import Random

DRAINS, SMOKE_DRAINS = 20, 1
TWICE, SMOKE_TWICE = 10, 1
GRACE_S = 2.0
LATE_MAX_S, TWICE_MAX_S = 1.0, 2.0
_LIMIT_S = 30.0
_GONE_MAX_S = 2.0


@dataclass(slots=True)
class _Log:
    """What every SIGTERM came to."""

    short: list[Fate] = field(default_factory=list)
    long: list[Fate] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    exit_s: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    orphans: int = 0
    files: list[str] = field(default_factory=list)
    odd: list[dict[str, Any]] = field(default_factory=list)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of SIGTERM."""
    random, journal, log, twice = seeded(seed), Journal(), _Log(), _Log()
    for number in range(SMOKE_DRAINS if smoke else DRAINS):
        with TemporaryDirectory(prefix="orion-chaos-") as folder:
            _drain(Path(folder), journal, random, number, log)
    for number in range(SMOKE_TWICE if smoke else TWICE):
        with TemporaryDirectory(prefix="orion-chaos-") as folder:
            _leave_at_once(Path(folder), journal, random, number, twice)
    return [*_rows(log, seed), *_twice_rows(twice, seed), quiet_row("G12", journal, "SIGTERM")]


def _drain(folder: Path, journal: Journal, random: Random, number: int, log: _Log) -> None:
    with ScriptedApp(folder, journal, ORION_GRACE_S=str(GRACE_S)) as app:
        app.wait_ready()
        # Short ones have at most 0.9 s to go, long ones many times the grace.
        short = [
            _Caller(app.port, f"short {number}.{i} tokens=30 delay=0.03", agent)
            for i, agent in enumerate((CHAT, CODE, CHAT))
        ]
        long = [
            _Caller(app.port, f"long {number}.{i} tokens=3000 delay=0.01", agent)
            for i, agent in enumerate((CHAT, CODE))
        ]
        for caller in (*short, *long):
            until(lambda caller=caller: caller.reply.first_s > 0, _LIMIT_S)  # type: ignore[misc]
        children = child_pids(app.pid)
        app.child.process.send_signal(signal.SIGTERM)
        signalled_s = time.monotonic()
        time.sleep(random.uniform(0.1, GRACE_S / 2))
        new = ask(app.port, body_of(f"new {number} tokens=1", CHAT))
        log.new.append(f"{new.status} {new.code}" + (" Retry-After" if new.retry_after else ""))
        _note_exit(app, signalled_s, children, log)
        for caller in (*short, *long):
            fate = caller.fate(30 if caller in short else 3000)
            (log.short if caller in short else log.long).append(fate)
            if fate not in {Fate.WHOLE, Fate.PARTIAL}:
                log.odd.append({"fate": str(fate), "code": caller.reply.code})


def _leave_at_once(folder: Path, journal: Journal, random: Random, number: int, log: _Log) -> None:
    with ScriptedApp(folder, journal, ORION_GRACE_S="30") as app:
        app.wait_ready()
        caller = _Caller(app.port, f"twice {number} tokens=3000 delay=0.01", CHAT)
        until(lambda: caller.reply.first_s > 0, _LIMIT_S)
        children = child_pids(app.pid)
        app.child.process.send_signal(signal.SIGTERM)
        time.sleep(random.uniform(0.1, 1.0))
        app.child.process.send_signal(signal.SIGTERM)
        _note_exit(app, time.monotonic(), children, log)
        caller.fate(3000)


class _Caller:
    """A request on a thread, looked at while it runs."""

    def __init__(self, port: int, message: str, agent: str) -> None:
        self.reply = Reply()
        body = body_of(message, agent, max_tokens=4000)
        self._thread = threading.Thread(
            target=ask, args=(port, body), kwargs={"into": self.reply}, daemon=True
        )
        self._thread.start()

    def fate(self, num_tokens: int) -> Fate:
        """How it ended."""
        self._thread.join(_LIMIT_S)
        return Fate.HUNG if self._thread.is_alive() else fate_of_reply(self.reply, num_tokens)


def _note_exit(app: ScriptedApp, since_s: float, children: set[int], log: _Log) -> None:
    process = app.child.process
    log.exit_s.append(until(lambda: process.poll() is not None, _LIMIT_S, since_s=since_s))
    log.statuses.append(process.returncode if process.returncode is not None else -1)
    if until(lambda: all_gone(children), _GONE_MAX_S) > _GONE_MAX_S:
        log.orphans += 1
    log.files += app.leftovers()


def _rows(log: _Log, seed: int) -> list[Row]:
    count = len(log.exit_s)
    whole = sum(fate is Fate.WHOLE for fate in log.short)
    ended = sum(fate is Fate.PARTIAL for fate in log.long)
    refused = sum(said == "503 shutting_down Retry-After" for said in log.new)
    clean = sum(status == 0 for status in log.statuses)
    details = {"seed": seed, "grace_s": GRACE_S, "new": log.new, "odd": log.odd[:20]}
    return [
        Row(
            "G12",
            f"SIGTERM with answers under way, {count} times (grace {GRACE_S:g} s)",
            "short ones whole, long ones ended and marked",
            f"{whole} of {len(log.short)} whole; {ended} of {len(log.long)} ended and marked",
            whole == len(log.short) and ended == len(log.long),
            {**details, "short": in_words(log.short), "long": in_words(log.long)},
        ),
        Row(
            "G12",
            "a new request meanwhile",
            "503 with its code and Retry-After",
            f"{refused} of {count}",
            refused == count,
            details,
        ),
        Row(
            "G12",
            "what is left after the exit",
            "status 0, no process, no temporary file",
            f"{clean} of {count} status 0, {log.orphans} orphans, {len(log.files)} files",
            clean == count and not log.orphans and not log.files,
            {"statuses": log.statuses, "files": log.files[:20]},
        ),
        Row(
            "G12",
            "time from SIGTERM to the exit",
            f"≤ grace + {LATE_MAX_S:g} s",
            f"longest {seconds(worst(log.exit_s))}",
            worst(log.exit_s) <= GRACE_S + LATE_MAX_S,
            {"timing": True, "exit_s": log.exit_s},
        ),
    ]


def _twice_rows(log: _Log, seed: int) -> list[Row]:
    count = len(log.exit_s)
    due = sum(status == 128 + signal.SIGTERM for status in log.statuses)
    return [
        Row(
            "G12",
            f"a second SIGTERM, {count} times",
            "leaves at once, no process, no temporary file",
            f"{due} of {count} left, {log.orphans} orphans, {len(log.files)} files",
            due == count and not log.orphans and not log.files,
            {"seed": seed, "statuses": log.statuses, "files": log.files[:20]},
        ),
        Row(
            "G12",
            "time from the second SIGTERM to the exit",
            f"≤ {TWICE_MAX_S:g} s",
            f"longest {seconds(worst(log.exit_s))}",
            worst(log.exit_s) <= TWICE_MAX_S,
            {"timing": True, "exit_s": log.exit_s},
        ),
    ]

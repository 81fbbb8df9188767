"""G20: minutes of load at 80 % of what there is room for, with a fault every ten seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.fate import ENDED_WELL, Fate, fate_of_reply, in_words, tally
from benchmarks.chaos.ground import CHAT, CODE, Journal, ScriptedApp, quiet_row, seeded
from benchmarks.chaos.health_watch import Pulse, live_row
from benchmarks.chaos.http_client import ask, body_of, call
from benchmarks.chaos.soak_faults import FAULTS, Target
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import seconds, slope, until
from benchmarks.process import rss_bytes

if TYPE_CHECKING:
    from random import Random

    from benchmarks.chaos.http_client import Reply

MINUTES, SMOKE_MINUTES = 20.0, 0.15
FAULT_EVERY_S, SMOKE_FAULT_EVERY_S = 10.0, 0.9
WELL_MIN, SLOPE_MAX_BYTES = 0.995, 1_000_000
LOAD = 0.8
_SLOTS = 8
_TOKENS = (20, 60)
_DELAY_S = 0.025
_AGENTS = (CHAT, CODE, "reasoning-agent", CODE, "multilingual-agent", CODE)
_BROKEN = frozenset({Fate.UNKNOWN, Fate.WRONG, Fate.HUNG, Fate.TORN})
_SILENCE_S = 90.0
_SETTLE_S = 60.0
_LOOK_S = 2.0
_STEADY_MINUTES = 2.0
_BRISK = {"ORION_DEADLINE__STALL_S": "1.5"}  # a smoke run cannot wait the ten seconds of a hang


@dataclass(slots=True)
class _Log:
    """Every request, and the memory of the app over time (minutes, bytes)."""

    fates: list[Fate] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    odd: list[dict[str, Any]] = field(default_factory=list)
    rss: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    deaths: int = 0

    def note(self, reply: Reply, num_tokens: int, *, lies: bool = False, name: str = "") -> None:
        """Count one answer."""
        fate = fate_of_reply(reply, num_tokens, lies=lies)
        self.fates.append(fate)
        if reply.code:
            self.codes[f"{reply.status} {reply.code}"] += 1
        if fate not in ENDED_WELL:
            facts = {"status": reply.status, "code": reply.code, "broke": reply.broke}
            self.odd.append({"fate": str(fate), "name": name, **facts, "text": reply.text[-60:]})


def run(*, smoke: bool, seed: int, minutes: float = MINUTES) -> list[Row]:
    """The figures of the soak; the app is as shipped, but for ORION_FAULTS."""
    length_s = 60 * (SMOKE_MINUTES if smoke else minutes)
    journal, log = Journal(), _Log()
    with (
        TemporaryDirectory(prefix="orion-chaos-") as folder,
        ScriptedApp(Path(folder), journal, ORION_FAULTS="1", **(_BRISK if smoke else {})) as app,
    ):
        app.wait_ready()
        ask(app.port, body_of("wake tokens=1", CODE))
        over = threading.Event()
        weigher = threading.Thread(target=_weigh, args=(app.pid, over, log))
        every_s = SMOKE_FAULT_EVERY_S if smoke else FAULT_EVERY_S
        with Pulse(app.port) as pulse, ThreadPoolExecutor(96) as threads:
            weigher.start()
            target = Target(app.port, app.token, threads)
            until_s = time.monotonic() + length_s
            kinds = [kind for kind in FAULTS if not (smoke and "slow" in kind)]
            striker = threading.Thread(
                target=_strike,
                args=(target, seeded(seed), log),
                kwargs={"every": kinds, "every_s": every_s, "until_s": until_s},
            )
            striker.start()
            _load(target, seeded(seed + 1), until_s, log)
            striker.join()
        over.set()
        weigher.join()
        _settle(app.port, log)
    rows = _rows(log, length_s / 60, seed)
    return [*rows, live_row([pulse], "soak"), quiet_row("G20", journal, "soak")]


def _load(target: Target, random: Random, until_s: float, log: _Log) -> None:
    """Requests that come whether or not the last ones were answered."""
    mean_s = sum(_TOKENS) / 2 * _DELAY_S
    rate = LOAD * _SLOTS / mean_s
    number, due_s = 0, time.monotonic()
    while (due_s := due_s + random.expovariate(rate)) < until_s:
        time.sleep(max(0.0, due_s - time.monotonic()))
        num_tokens = random.randint(*_TOKENS)
        message = f"soak {number} tokens={num_tokens} delay={_DELAY_S}"
        agent = _AGENTS[number % len(_AGENTS)]
        target.threads.submit(_ask, target.port, message, agent, num_tokens, log)
        number += 1


def _ask(port: int, message: str, agent: str, num_tokens: int, log: _Log) -> None:
    reply = ask(port, body_of(message, agent), limit_s=_SILENCE_S)
    log.note(reply, num_tokens, name=message)


def _strike(
    target: Target, random: Random, log: _Log, *, every: list[str], every_s: float, until_s: float
) -> None:
    """Each kind of fault once before any comes again; none near the end."""
    number = 0
    kinds: list[str] = []
    while time.monotonic() + 2 * every_s < until_s:
        time.sleep(every_s)
        kinds = kinds or random.sample(every, len(every))
        kind = kinds.pop()
        number += 1
        log.faults.append(kind)
        try:
            reply = FAULTS[kind](target, random, f"fault {number} {kind}")
        except (OSError, KeyError, IndexError) as error:
            log.odd.append({"fault": kind, "not struck": repr(error)})
            continue
        if reply is not None:
            future, num_tokens = reply
            lies = kind in {"dup", "flood"}
            future.add_done_callback(
                lambda done, n=num_tokens, lies=lies, kind=kind: log.note(  # type: ignore[misc]
                    done.result(), n, lies=lies, name=kind
                )
            )


def _weigh(pid: int, over: threading.Event, log: _Log) -> None:
    begun_s = time.monotonic()
    while not over.wait(_LOOK_S):
        log.rss.append(((time.monotonic() - begun_s) / 60, float(rss_bytes(pid))))


def _settle(port: int, log: _Log) -> None:
    """Wait for the last requests, then look for what nobody gave back."""

    def held() -> dict[str, int]:
        stats = call(port, "status")
        log.deaths = int(stats["deaths"])
        return {
            "in_flight": int(stats["requests"]["in_flight"]),
            "running": int(stats["requests"]["running"]),
            "waiting": int(stats["queue"]["waiting"]),
            "jobs": sum(int(worker["active"]) for worker in stats["workers"]),
            "permits": sum(int(entry["in_flight"]) for entry in stats["breakers"]),
        }

    until(lambda: not any(held().values()), _SETTLE_S)
    log.left = held()


def _rows(log: _Log, minutes: float, seed: int) -> list[Row]:
    count = len(log.fates)
    well = sum(fate in ENDED_WELL for fate in log.fates)
    broken = [fate for fate in log.fates if fate in _BROKEN]
    ratio = well / count if count else 0.0
    warm = min(_STEADY_MINUTES, minutes / 4)
    per_minute = slope([(at, size) for at, size in log.rss if at >= warm])
    memory = Row(
        "G20",
        f"memory of the app after the first {seconds(60 * warm)}",
        f"slope < {SLOPE_MAX_BYTES / 1e6:g} MB a minute",
        f"{per_minute / 1e6:+.2f} MB a minute",
        per_minute < SLOPE_MAX_BYTES,
        {"rss": [size for _, size in log.rss[::10]]},
    )
    details = {
        "seed": seed,
        "fates": tally(log.fates),
        "codes": dict(log.codes.most_common()),
        "faults": log.faults,
        "deaths": log.deaths,
        "odd": log.odd[:40],
    }
    return [
        Row(
            "G20",
            f"{minutes:g} min at {LOAD:.0%} load, {len(log.faults)} faults: how requests end",
            f"≥ {WELL_MIN:.1%} well, or with a documented refusal",
            f"{ratio:.2%} of {count}: {in_words(log.fates)}",
            ratio >= WELL_MIN,
            details,
        ),
        Row(
            "G20",
            "errors that nothing documents, torn streams, wrong text, no end",
            "0",
            in_words(broken) if broken else "0",
            not broken,
            {"odd": log.odd[:20]},
        ),
        Row(
            "G20",
            "held afterwards (requests, slots, permits)",
            "nothing",
            ", ".join(f"{n} {name}" for name, n in log.left.items() if n) or "nothing",
            not any(log.left.values()),
            {"left": log.left},
        ),
        # Within seconds of its start an app still grows into its caches: no slope yet.
        *([memory] if minutes >= _STEADY_MINUTES else []),
    ]

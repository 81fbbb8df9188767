"""G8: callers that go away, in an answer and while the prompt is being read."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.ground import (
    CHAT,
    CODE,
    Journal,
    ScriptedApp,
    engine_on_model,
    engine_on_script,
    quiet_row,
    seeded,
)
from benchmarks.chaos.http_client import ask, body_of, call, open_stream
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import percentile, seconds, until, worst
from orion.types import DeltaEvent, RequestState, StateEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from orion.engine import Engine

SOCKETS, SMOKE_SOCKETS = 150, 5
CLOSES, SMOKE_CLOSES = 50, 2
DEAF, SMOKE_DEAF = 20, 1
REAL = 10
DECODE_MAX_S, PREFILL_MAX_S = 0.5, 2.0
_LIMIT_S = 20.0
_BEAT_S = 0.25
_BYTES_MAX = 6000
_PROMPT_WORDS = 900


@dataclass(slots=True)
class _Log:
    """How long the work went on after its caller had gone, and what was wrong besides."""

    running: int = 0
    freed_s: list[float] = field(default_factory=list)
    moved: int = 0
    failures: int = 0
    ignored: int = 0


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of callers that leave."""
    random, journal = seeded(seed), Journal()
    decode, deaf = _Log(), _Log()
    with (
        TemporaryDirectory(prefix="orion-chaos-") as folder,
        ScriptedApp(Path(folder), journal) as app,
    ):
        app.wait_ready()
        ask(app.port, body_of("wake tokens=1", CODE))
        before = _votes(call(app.port, "status"))
        for number in range(SMOKE_SOCKETS if smoke else SOCKETS):
            _cut(app.port, random, number, decode)
        _count_votes(decode, before, _votes(call(app.port, "status")))
    with engine_on_script(journal) as engine:
        for agent in (CHAT, CODE):
            engine.load(agent)
        before = _votes(engine.stats())
        for number in range(SMOKE_CLOSES if smoke else CLOSES):
            script = f"close {number} tokens=3000 delay=0.01"
            _close(engine, script, random.randint(1, 40), decode)
        _count_votes(decode, before, _votes(engine.stats()))
        before = _votes(engine.stats())
        for number in range(SMOKE_DEAF if smoke else DEAF):
            _close(engine, f"deaf {number} prefill=60 deaf", 0, deaf)
            until(lambda: len(_ready(engine.stats())) == 2, _LIMIT_S)  # noqa: PLR2004
        _count_votes(deaf, before, _votes(engine.stats()))
    rows = [
        *_rows("in an answer", decode, DECODE_MAX_S, seed),
        *_rows("in a prefill that does not listen", deaf, PREFILL_MAX_S, seed),
    ]
    if not smoke:
        rows += _rows("in a prefill of the embedded model", _real(random), PREFILL_MAX_S, seed)
    return [*rows, quiet_row("G8", journal, "callers leave")]


def _cut(port: int, random: Random, number: int, log: _Log) -> None:
    """Close a connection at a random byte of its stream: politely, or with a reset."""
    agent = random.choice([CHAT, CODE])
    body = body_of(f"cut {number} tokens=3000 delay=0.01", agent, max_tokens=4000)
    wanted = random.randint(0, _BYTES_MAX)
    with open_stream(port, body) as connection:
        got = 0
        while got < wanted and (data := connection.recv(min(4096, wanted - got))):
            got += len(data)
        runs_s = until(lambda: _active(call(port, "status")) > 0, _LIMIT_S)
        log.running += runs_s < _LIMIT_S
        if random.random() < 0.5:  # noqa: PLR2004
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    _watch_end(lambda: dict(call(port, "status")), log)


def _close(engine: Engine, script: str, num_tokens: int, log: _Log) -> None:
    """Close the generator of a stream after so many tokens (0: while the prompt is read)."""
    stream = engine.stream(script, agent=CODE, max_tokens=4000)
    seen = 0
    for event in stream:
        seen += len(event.text.split()) if isinstance(event, DeltaEvent) else 0
        runs = isinstance(event, StateEvent) and event.state is RequestState.INFERENCING
        if seen >= num_tokens > 0 or (runs and num_tokens == 0):
            break
    if num_tokens == 0:
        time.sleep(0.1)
    log.running += _active(engine.stats()) > 0
    begun_s = time.monotonic()
    stream.close()
    _watch_end(engine.stats, log, begun_s)


def _watch_end(
    stats: Callable[[], dict[str, Any]], log: _Log, since_s: float | None = None
) -> None:
    """Note when every slot is free, and whether a token is made after that."""
    log.freed_s.append(until(lambda: _active(stats()) == 0, _LIMIT_S, since_s=since_s))
    time.sleep(_BEAT_S)  # what was made before the end may still be told by the next heartbeat
    before = _num_tokens(stats())
    time.sleep(_BEAT_S)
    after = _num_tokens(stats())
    log.moved += any(after[worker] != before.get(worker, 0) for worker in after)


def _real(random: Random) -> _Log:
    """The embedded model, left while it reads a long prompt that it has not seen."""
    log = _Log()
    with engine_on_model() as engine:
        engine.load(CHAT)
        before = _votes(engine.stats())
        for _ in range(REAL):
            prompt = " ".join(str(random.randint(0, 99)) for _ in range(_PROMPT_WORDS))
            _close(engine, prompt, 0, log)
            until(lambda: len(_ready(engine.stats())) == 1, _LIMIT_S)
        _count_votes(log, before, _votes(engine.stats()))
    return log


def _ready(stats: dict[str, Any]) -> list[dict[str, Any]]:
    return [worker for worker in stats["workers"] if worker["state"] == "ready"]


def _active(stats: dict[str, Any]) -> int:
    return sum(int(worker["active"]) for worker in stats["workers"])


def _num_tokens(stats: dict[str, Any]) -> dict[str, int]:
    return {str(worker["id"]): int(worker["num_tokens"]) for worker in stats["workers"]}


def _votes(stats: dict[str, Any]) -> tuple[int, int]:
    """Failures and ignored calls of all breakers since the start."""
    known = stats["breakers"]
    return sum(b["failures_total"] for b in known), sum(b["ignored"] for b in known)


def _count_votes(log: _Log, before: tuple[int, int], after: tuple[int, int]) -> None:
    log.failures += after[0] - before[0]
    log.ignored += after[1] - before[1]


def _rows(where: str, log: _Log, limit_s: float, seed: int) -> list[Row]:
    count = len(log.freed_s)
    freed = sum(took_s < _LIMIT_S for took_s in log.freed_s)
    details = {"seed": seed, "moved": log.moved, "failures": log.failures, "ignored": log.ignored}
    return [
        Row(
            "G8",
            f"callers that leave {where}",
            "the work stops, the slot is back, no breaker counts it",
            f"{freed} of {log.running} back, {log.moved} went on, {log.failures} failures counted",
            freed == count == log.running
            and not log.moved
            and not log.failures
            and log.ignored == count,
            details,
        ),
        Row(
            "G8",
            f"time until the work has stopped, {where}",
            f"each ≤ {limit_s:g} s",
            f"median {seconds(percentile(log.freed_s, 50))}, longest {seconds(worst(log.freed_s))}",
            worst(log.freed_s) <= limit_s,
            {"timing": True, "p99_s": percentile(log.freed_s, 99)},
        ),
    ]

"""G15: answers that take too long: the caller, the worker and the breaker agree."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.asking import Asked, told
from benchmarks.chaos.fate import Fate, fate_of
from benchmarks.chaos.ground import MAIN, Journal, engine_on_script, pool, quiet_row, seeded
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import percentile, seconds, until, worst
from orion.types import RequestState

if TYPE_CHECKING:
    from orion.engine import Engine

ROUNDS, SMOKE_ROUNDS = 50, 2
LIMIT_S = 0.6
DECODE_MAX_S, PREFILL_MAX_S = 0.3, 1.0
_WAIT_S = 20.0
_BEAT_S = 0.25
_TOKENS = 400


@dataclass(slots=True)
class _Log:
    """How far over the limit, and on what the three did not agree."""

    told_s: list[float] = field(default_factory=list)
    stopped_s: list[float] = field(default_factory=list)
    agreed: int = 0
    odd: list[dict[str, Any]] = field(default_factory=list)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of deadlines; a model is asked for by its name, so nobody takes over."""
    random, journal, decode, prefill = seeded(seed), Journal(), _Log(), _Log()
    rounds = SMOKE_ROUNDS if smoke else ROUNDS
    with engine_on_script(journal, deadline={"generate_s": LIMIT_S}) as engine:
        engine.load(MAIN)
        for number in range(rounds):
            pace_s = random.uniform(0.005, 0.05)
            script = f"slow {number} tokens={_TOKENS} delay={pace_s:.3f}"
            _round(engine, script, Fate.PARTIAL, decode)
            ears = random.choice(["", " deaf"])
            _round(engine, f"read {number} prefill=60{ears}", Fate.REFUSED, prefill)
    return [
        *_rows("in an answer", decode, DECODE_MAX_S, seed),
        *_rows("in a prefill (half of them do not listen)", prefill, PREFILL_MAX_S, seed),
        quiet_row("G15", journal, "deadlines"),
    ]


def _round(engine: Engine, script: str, due: Fate, log: _Log) -> None:
    engine.reset_breakers()
    before = _breaker(engine)
    asked = Asked(engine, script, agent=MAIN, max_tokens=_TOKENS)
    asked.reached(0, _WAIT_S)
    granted_s = asked.entered_s(RequestState.INFERENCING) or time.monotonic()
    asked.wait(_WAIT_S)
    stopped_s = until(lambda: not _active(engine), _WAIT_S, since_s=granted_s)
    log.told_s.append(asked.ended_s - granted_s - LIMIT_S)
    log.stopped_s.append(stopped_s - LIMIT_S)
    until(lambda: MAIN in pool(engine), _WAIT_S)
    time.sleep(_BEAT_S)
    counted = _num_tokens(engine)
    time.sleep(_BEAT_S)
    after = _breaker(engine)
    fate = fate_of(asked, _TOKENS)
    facts = {
        "fate": str(fate),
        "code": asked.code,
        "failures": after["failures_total"] - before["failures_total"],
        "calls": after["admitted"] - before["admitted"],
        "in_flight": after["in_flight"],
        "stands": counted == _num_tokens(engine),
    }
    due_facts = {"fate": str(due), "code": "deadline", "failures": 1, "calls": 1, "in_flight": 0}
    if facts == {**due_facts, "stands": True} and stopped_s < _WAIT_S:
        log.agreed += 1
    else:
        log.odd.append({**facts, **told(asked)})


def _active(engine: Engine) -> int:
    return sum(int(worker["active"]) for worker in engine.stats()["workers"])


def _num_tokens(engine: Engine) -> int:
    return sum(int(worker["num_tokens"]) for worker in engine.stats()["workers"])


def _breaker(engine: Engine) -> dict[str, Any]:
    """The breaker of the model; zeros before its first call."""
    known = {str(entry["name"]): entry for entry in engine.stats()["breakers"]}
    nothing = {"failures_total": 0, "admitted": 0, "in_flight": 0}
    found: dict[str, Any] = known.get(f"generate:{MAIN}", nothing)
    return found


def _rows(where: str, log: _Log, limit_s: float, seed: int) -> list[Row]:
    count = len(log.told_s)
    p99_s = max(percentile(log.told_s, 99), percentile(log.stopped_s, 99))
    return [
        Row(
            "G15",
            f"caller, worker and breaker agree on a deadline {where}",
            "each: told so, stopped, one failure counted",
            f"{log.agreed} of {count}",
            log.agreed == count,
            {"seed": seed, "limit_s": LIMIT_S, "odd": log.odd[:20]},
        ),
        Row(
            "G15",
            f"overshoot {where}",
            f"p99 ≤ {limit_s:g} s, for the caller and the worker",
            f"p99 {seconds(p99_s)}; caller ≤ {seconds(worst(log.told_s))}, "
            f"worker ≤ {seconds(worst(log.stopped_s))}",
            p99_s <= limit_s,
            {"timing": True, "caller_p50_s": percentile(log.told_s, 50)},
        ),
    ]

"""G21: a message that kills the worker that reads it, sent again and again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.asking import Asked, told
from benchmarks.chaos.fate import Fate, fate_of, in_words
from benchmarks.chaos.ground import CHAT, CODE, Journal, engine_on_script, quiet_row, seeded
from benchmarks.chaos.table import Row

if TYPE_CHECKING:
    from orion.engine import Engine

SENDINGS = 10
OTHERS, SMOKE_OTHERS = 4000, 1200
LOST_MAX, SUCCESS_MIN = 2, 0.995
_THREADS = 4
_LIMIT_S = 30.0
_LONG_TOKENS = 30
_POISONS = ("die=0 tokens=5", "die=3 tokens=20 delay=0.01")
_SUCCESS = frozenset({Fate.WHOLE, Fate.FALLBACK})


@dataclass(slots=True)
class _Log:
    """What the poison cost, and whom."""

    lost: list[int] = field(default_factory=list)
    codes: list[list[str]] = field(default_factory=list)
    others: list[Fate] = field(default_factory=list)
    hit: int = 0
    refused: int = 0
    again: list[Fate] = field(default_factory=list)
    odd: list[dict[str, Any]] = field(default_factory=list)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of a poisonous message; the breakers are as shipped."""
    journal, log, random = Journal(), _Log(), seeded(seed)
    count = SMOKE_OTHERS if smoke else OTHERS
    with engine_on_script(journal) as engine:
        for agent in (CHAT, CODE):
            engine.load(agent)
        threads = [
            threading.Thread(target=_innocent, args=(engine, log, worker, count // _THREADS))
            for worker in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for number, script in enumerate(_POISONS):
            _poison(engine, f"poison {number} {random.random()} {script}", log)
        for thread in threads:
            thread.join()
        states = {str(known["name"]): str(known["state"]) for known in engine.stats()["breakers"]}
    return [*_rows(log, states, seed), quiet_row("G21", journal, "poison")]


def _innocent(engine: Engine, log: _Log, worker: int, count: int) -> None:
    """Short questions to both workers, one after the other."""
    for number in range(count):
        agent = (CHAT, CODE)[number % 2]
        asked = Asked(engine, f"innocent {worker}.{number} tokens=3", agent=agent)
        asked.wait(_LIMIT_S)
        _note(log, asked, 3)


def _poison(engine: Engine, message: str, log: _Log) -> None:
    """Send it, each time beside an innocent answer that is under way."""
    deaths = engine.stats()["deaths"]
    codes = []
    for number in range(SENDINGS):
        beside = f"beside {message.partition(' ')[2][:8]} {number}"
        long = Asked(engine, f"{beside} tokens={_LONG_TOKENS} delay=0.02", agent=CODE)
        long.reached(2, _LIMIT_S)
        sent = Asked(engine, message, agent=CODE)
        sent.wait(_LIMIT_S)
        codes.append(sent.code)
        if sent.code == "quarantined":
            long.leave()
        long.wait(_LIMIT_S)
        if sent.code != "quarantined":
            _note(log, long, _LONG_TOKENS)
        if long.code:
            _ask_again(engine, long, log)
    log.lost.append(engine.stats()["deaths"] - deaths)
    log.codes.append(codes)


def _ask_again(engine: Engine, hit: Asked, log: _Log) -> None:
    """Who was in flight at a death asks the same again: and is answered."""
    log.hit += 1
    again = Asked(engine, hit.message, agent=CODE)
    again.wait(_LIMIT_S)
    fate = fate_of(again, _LONG_TOKENS)
    log.again.append(fate)
    log.refused += again.code == "quarantined"
    if fate not in _SUCCESS:
        log.odd.append({"fate": str(fate), **told(again)})


def _note(log: _Log, asked: Asked, num_tokens: int) -> None:
    fate = fate_of(asked, num_tokens)
    log.others.append(fate)
    if fate not in _SUCCESS:
        log.odd.append({"fate": str(fate), **told(asked)})


def _rows(log: _Log, states: dict[str, str], seed: int) -> list[Row]:
    succeeded = sum(fate in _SUCCESS for fate in log.others)
    ratio = succeeded / len(log.others)
    not_closed = sorted(name for name, state in states.items() if state != "closed")
    # Once refused it is refused for good: no later sending reaches a worker.
    last = [codes[LOST_MAX:] for codes in log.codes]
    refused = all(code == "quarantined" for codes in last for code in codes)
    details = {"seed": seed, "codes": log.codes, "odd": log.odd[:20]}
    return [
        Row(
            "G21",
            f"a message that kills its worker, sent {SENDINGS} times (before and after a text)",
            f"≤ {LOST_MAX} workers lost, then refused as quarantined",
            f"{' and '.join(map(str, log.lost))} lost, "
            f"{'then refused each time' if refused else 'NOT refused each time'}",
            max(log.lost) <= LOST_MAX and refused,
            details,
        ),
        Row(
            "G21",
            "success of all others meanwhile",
            f"≥ {SUCCESS_MIN:.1%} whole answers",
            f"{ratio:.2%} of {len(log.others)}: {in_words(log.others)}",
            ratio >= SUCCESS_MIN,
            details,
        ),
        Row(
            "G21",
            "innocent messages in flight at the deaths, asked again",
            "each answered, none refused",
            f"{sum(fate in _SUCCESS for fate in log.again)} of {log.hit}, {log.refused} refused",
            all(fate in _SUCCESS for fate in log.again) and log.hit > 0,
            details,
        ),
        Row(
            "G21",
            "breakers after it (as shipped: 3 failures)",
            "all closed",
            ", ".join(not_closed) or f"{len(states)} closed",
            not not_closed,
        ),
    ]

"""G3: every worker of the app dies at once, the fallback's too."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.fate import GOOD, Fate, fate_of_reply, in_words
from benchmarks.chaos.ground import (
    MODEL_OF,
    Journal,
    ScriptedApp,
    pool_of,
    quiet_row,
)
from benchmarks.chaos.health_watch import (
    ALL,
    NONE,
    SOME,
    HealthWatch,
    Pulse,
    live_row,
    of_app,
    truth_row,
)
from benchmarks.chaos.http_client import ask, body_of, call
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import seconds, worst

if TYPE_CHECKING:
    from concurrent.futures import Future

    from benchmarks.chaos.http_client import Reply

DEATHS, SMOKE_DEATHS = 20, 1
ANSWER_MAX_S, BACK_MAX_S = 3.0, 10.0
_LIMIT_S = 30.0
_TOKENS = 20
_LOOK_S = 0.05
_LOAD_S = 1.2
_HONEST = GOOD | {Fate.REFUSED, Fate.FAILED}
_VARIABLES = {
    "ORION_WORKERS": "3",
    "ORION_WORKER__SPARES": "0",
    "ORION_BREAKER__FAILURES": "1000000",
    "ORION_BREAKER__MINIMUM_CALLS": "1000000",
    "ORION_RUNTIME_OPTIONS": f'{{"fake": {{"load_s": {_LOAD_S}}}}}',
}


@dataclass(slots=True)
class _Log:
    """What every round came to; times count from the deaths, or from the question if later."""

    fates: list[Fate] = field(default_factory=list)
    told_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    after: list[Fate] = field(default_factory=list)
    odd: list[dict[str, Any]] = field(default_factory=list)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of a death of all."""
    deaths, journal, log = (SMOKE_DEATHS if smoke else DEATHS), Journal(), _Log()
    random = Random(seed)
    with (
        TemporaryDirectory(prefix="orion-chaos-") as folder,
        ScriptedApp(Path(folder), journal, **_VARIABLES) as app,
        ThreadPoolExecutor(16) as threads,
    ):
        app.wait_ready()
        for agent in MODEL_OF:
            ask(app.port, body_of(f"wake {agent} tokens=1", agent))
        with HealthWatch(of_app(app.port)) as watch, Pulse(app.port) as pulse:
            for number in range(deaths):
                _die(app, threads, random, number, log, watch)
    return [
        *_rows(log, deaths, seed),
        truth_row([watch], "every worker dies"),
        live_row([pulse], "every worker dies"),
        quiet_row("G3", journal, "every worker dies"),
    ]


def _die(
    app: ScriptedApp,
    threads: ThreadPoolExecutor,
    random: Random,
    number: int,
    log: _Log,
    watch: HealthWatch,
) -> None:
    agents = list(MODEL_OF)
    is_busy = number % 2 == 0
    running: list[Future[Reply]] = []
    if is_busy:
        script = f"tokens={_TOKENS} delay=0.05"
        running = [
            threads.submit(ask, app.port, body_of(f"die {number} {agent} {script}", agent))
            for agent in agents
        ]
        time.sleep(random.uniform(0.05, 0.8))
    pids = list(pool_of(call(app.port, "status")).values())
    random.shuffle(pids)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    watch.expect(NONE, killed_s)
    if is_busy:
        late = [body_of(f"late {number} {agent} tokens=5", agent) for agent in agents]
        running += [threads.submit(ask, app.port, body) for body in late]
    log.back_s.append(_wait_for_pool(app, watch, len(agents), killed_s))
    for index, future in enumerate(running):
        reply = future.result()
        fate = fate_of_reply(reply, _TOKENS if index < len(agents) else 5)
        log.fates.append(fate)
        log.told_s.append(reply.ended_s - max(killed_s, reply.sent_s))
        if fate not in _HONEST:
            log.odd.append({"fate": str(fate), "code": reply.code, "broke": reply.broke})
    for agent in agents:
        reply = ask(app.port, body_of(f"after {number} {agent} tokens=3", agent))
        log.after.append(fate_of_reply(reply, 3))


def _wait_for_pool(app: ScriptedApp, watch: HealthWatch, size: int, killed_s: float) -> float:
    """Seconds until every model answers again; the watch is told what is true meanwhile."""
    known = 0
    while time.monotonic() - killed_s < _LIMIT_S:
        resident = len(pool_of(call(app.port, "status")))
        if resident != known and resident <= size:
            known = resident
            watch.expect({0: NONE, size: ALL}.get(known, SOME))
        if known == size:
            return time.monotonic() - killed_s
        time.sleep(_LOOK_S)
    return float("inf")


def _rows(log: _Log, deaths: int, seed: int) -> list[Row]:
    honest = sum(fate in _HONEST for fate in log.fates)
    whole = sum(fate is Fate.WHOLE for fate in log.after)
    back = sum(took_s < _LIMIT_S for took_s in log.back_s)
    details = {"seed": seed, "deaths": deaths, "load_s": _LOAD_S, "odd": log.odd[:20]}
    return [
        Row(
            "G3",
            f"all three workers die at once, {deaths} times",
            "each caller: an answer, or an honest error",
            f"{honest} of {len(log.fates)}: {in_words(log.fates)}",
            honest == len(log.fates),
            details,
        ),
        Row(
            "G3",
            "their callers are told",
            f"each ≤ {ANSWER_MAX_S:g} s (a load takes {_LOAD_S:g} s)",
            f"longest {seconds(worst(log.told_s))}",
            worst(log.told_s) <= ANSWER_MAX_S,
            {"timing": True, "told_s": log.told_s},
        ),
        Row(
            "G3",
            "the app recovers by itself",
            "each time, and answers for every agent",
            f"{back} of {deaths}; {whole} of {len(log.after)} answered",
            back == deaths and whole == len(log.after),
            {**details, "after": in_words(log.after)},
        ),
        Row(
            "G3",
            "time until every model is back",
            f"each ≤ {BACK_MAX_S:g} s",
            f"longest {seconds(worst(log.back_s))}",
            worst(log.back_s) <= BACK_MAX_S,
            {"timing": True, "back_s": log.back_s},
        ),
    ]

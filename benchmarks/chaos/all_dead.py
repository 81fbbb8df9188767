"""G3: every worker of the app dies at once, the fallback's too."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.chaos.fate import GOOD, Fate, fate_of_reply, in_words
from benchmarks.chaos.ground import (
    MODEL_OF,
    Journal,
    ScriptedApp,
    pool_of,
    quiet_row,
    seeded,
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
    from random import Random

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
    with (
        TemporaryDirectory(prefix="orion-chaos-") as folder,
        ScriptedApp(Path(folder), journal, **_VARIABLES) as app,
        ThreadPoolExecutor(16) as threads,
    ):
        app.wait_ready()
        bodies = [body_of(f"wake {agent} tokens=1", agent) for agent in MODEL_OF]
        for woken in [threads.submit(ask, app.port, body) for body in bodies]:
            woken.result()
        with HealthWatch(of_app(app.port)) as watch, Pulse(app.port) as pulse:
            made = _Deaths(app=app, threads=threads, random=seeded(seed), watch=watch, log=log)
            for number in range(deaths):
                made.strike(number)
    return [
        *_rows(log, deaths, seed),
        truth_row([watch], "every worker dies"),
        live_row([pulse], "every worker dies"),
        quiet_row("G3", journal, "every worker dies"),
    ]


@dataclass(slots=True, kw_only=True)
class _Deaths:
    """Kills all workers of an app, again and again."""

    app: ScriptedApp
    threads: ThreadPoolExecutor
    random: Random
    watch: HealthWatch
    log: _Log

    def strike(self, number: int) -> None:
        """Once: every other time with answers under way, else with nobody there."""
        agents, port, log = list(MODEL_OF), self.app.port, self.log
        is_busy = number % 2 == 0
        running: list[tuple[Future[Reply], int]] = []
        if is_busy:
            running = [(self._ask(f"early {number}", agent, _TOKENS), _TOKENS) for agent in agents]
            time.sleep(self.random.uniform(0.05, 0.8))
        killed_s, killed = self._kill()
        if is_busy:
            running += [(self._ask(f"late {number}", agent, 5), 5) for agent in agents]
        log.back_s.append(_wait_for_pool(self.app, self.watch, len(agents), killed_s, killed))
        for future, num_tokens in running:
            reply = future.result()
            fate = fate_of_reply(reply, num_tokens)
            log.fates.append(fate)
            log.told_s.append(reply.ended_s - max(killed_s, reply.sent_s))
            if fate not in _HONEST:
                log.odd.append({"fate": str(fate), "code": reply.code, "broke": reply.broke})
        for agent in agents:
            reply = ask(port, body_of(f"after {number} {agent} tokens=3", agent))
            log.after.append(fate_of_reply(reply, 3))

    def _ask(self, name: str, agent: str, num_tokens: int) -> Future[Reply]:
        body = body_of(f"{name} {agent} tokens={num_tokens} delay=0.05", agent)
        return self.threads.submit(ask, self.app.port, body)

    def _kill(self) -> tuple[float, set[int]]:
        pids = list(pool_of(call(self.app.port, "status")).values())
        self.random.shuffle(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        self.watch.expect(NONE, killed_s)
        return killed_s, set(pids)


def _wait_for_pool(
    app: ScriptedApp, watch: HealthWatch, size: int, killed_s: float, killed: set[int]
) -> float:
    """Seconds until every model answers again; the watch is told what is true meanwhile.

    A status read in the moment of the deaths may still show some of the dead.
    """
    known = 0
    while time.monotonic() - killed_s < _LIMIT_S:
        resident = len(set(pool_of(call(app.port, "status")).values()) - killed)
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

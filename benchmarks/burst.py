"""`burst`: 1,000 clients at once before two slots and a queue of sixteen.

The runtime is scripted, so that what is measured is the door. A refusal's latency runs from the
last byte of the request being written to the first byte of the status line, in a process of
the clients' own, over connections opened beforehand; the last rounds connect first and count
that too. Clients come with sessions of their own, and in every second round all from one
address without any.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.burst_client import Attempt
from benchmarks.chaos.ground import Journal, ScriptedApp
from benchmarks.chaos.http_client import call
from benchmarks.figures import Figure, Goal, JudgedBy
from benchmarks.process import BenchmarkError, Child, rss_bytes
from benchmarks.subject import CHAT_AGENT, Subject, say

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENTS = 1_000
SLOTS = 2
QUEUE_MAX = 16
SESSIONS = 40
QUESTION = "tokens=5 delay=0.01 question {number}"
LEARN = 24
LIMIT_S = 300.0
MB = 1e6
ADMITTED_GOAL = Goal(bound=float(SLOTS + QUEUE_MAX))
LATENCY_GOAL = Goal(bound=100.0)
NONE_GOAL = Goal(bound=0.0)
RSS_GOAL = Goal(bound=50.0)
RETRY_GOAL = Goal(bound=0.9, at_least=True)
_REFUSALS = (429, 503)
_OK = 200
_LOOK_S = 0.02
_SETTLE_S = 1.0
_SCENARIO = "burst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What came of one crowd: every client's attempts, and what the app held meanwhile."""

    attempts: list[list[Attempt]]
    most_admitted: int
    grown_bytes: int

    @property
    def first(self) -> list[Attempt]:
        """Everybody's first attempt."""
        return [one[0] for one in self.attempts]

    @property
    def refused(self) -> list[Attempt]:
        """The first attempts that were refused."""
        return [one for one in self.first if one.status in _REFUSALS]

    @property
    def without_time(self) -> int:
        """Refusals that do not say when to come back."""
        everyone = [one for client in self.attempts for one in client]
        return sum(one.status in _REFUSALS and not one.retry_after for one in everyone)

    @property
    def lost(self) -> int:
        """Attempts that hang, were cut off, or ended in anything but an answer or a refusal."""
        everyone = [one for client in self.attempts for one in client]
        return sum(one.status not in (_OK, *_REFUSALS) for one in everyone)

    @property
    def let_in_ratio(self) -> float:
        """Of those that came again, how many got in."""
        again = [client[1] for client in self.attempts if len(client) > 1]
        return sum(one.status == _OK for one in again) / max(1, len(again))


def percentile(samples: Sequence[float], ratio: float) -> float:
    """The smallest sample that so many are not above; nan of none."""
    if not samples:
        return math.nan
    return sorted(samples)[max(0, math.ceil(ratio * len(samples)) - 1)]


def burst(_subject: Subject, runs: int) -> list[Figure]:
    """Crowds by turns with sessions and without; then as many that also connect, unjudged."""
    rounds: dict[str, list[Burst]] = {"sessions": [], "one address": [], "connecting": []}
    with (
        tempfile.TemporaryDirectory(prefix="orion-bench-") as folder,
        _app(Path(folder)) as app,
    ):
        app.wait_live_s()
        app.wait_ready()
        for index in range(runs):
            for name, made in rounds.items():
                made.append(
                    _crowd(
                        app,
                        sessions=0 if name == "one address" else SESSIONS,
                        opened=name != "connecting",
                        obeys=name != "connecting",
                    )
                )
                say(f"{index + 1} of {runs}, {name}: {_in_words(made[-1])}")
    return _figures(rounds)


def _app(folder: Path) -> ScriptedApp:
    return ScriptedApp(
        folder,
        Journal(),
        ORION_WORKERS="1",
        ORION_WORKER__SLOTS=str(SLOTS),
        ORION_WORKER__SPARES="0",
        ORION_QUEUE_MAX=str(QUEUE_MAX),
    )


def _crowd(app: ScriptedApp, *, sessions: int, opened: bool, obeys: bool) -> Burst:
    """One burst, after enough answers for the app to know how long one takes."""
    _ask(app, LEARN // SLOTS, sessions=SLOTS, num=SLOTS)
    time.sleep(_SETTLE_S)
    before = rss_bytes(app.pid)
    with _Watch(app) as watch:
        attempts = _run_clients(app, CLIENTS, sessions=sessions, opened=opened, obeys=obeys)
    return Burst(
        attempts=attempts,
        most_admitted=watch.most_admitted,
        grown_bytes=max(watch.most_bytes, rss_bytes(app.pid)) - before,
    )


def _ask(app: ScriptedApp, times: int, *, sessions: int, num: int) -> None:
    for _ in range(times):
        _run_clients(app, num, sessions=sessions, opened=True, obeys=False)


def _run_clients(
    app: ScriptedApp, num: int, *, sessions: int, opened: bool, obeys: bool
) -> list[list[Attempt]]:
    spec = {
        "port": app.port,
        "opened": opened,
        "obeys": obeys,
        "limit_s": LIMIT_S,
        "body": {"model": CHAT_AGENT, "max_tokens": 8},
        "bodies": [_body(number, sessions) for number in range(num)],
    }
    with Child("-m", "benchmarks.burst_client", talks=True) as child:
        told, _ = child.process.communicate(json.dumps(spec).encode(), timeout=LIMIT_S + 60)
        if child.process.returncode:
            child.fail("the clients broke")
    return [[Attempt(**attempt) for attempt in one] for one in json.loads(told)]


def _body(number: int, sessions: int) -> dict[str, Any]:
    question = QUESTION.format(number=number)
    own = {"session": f"session-{number % sessions}"} if sessions else {}
    return {"messages": [{"role": "user", "content": question}], **own}


class _Watch:
    """Looks at the app from outside as long as the context lasts."""

    def __init__(self, app: ScriptedApp) -> None:
        self.most_admitted = 0
        self.most_bytes = 0
        self._app = app
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._note()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_S):
            self.most_bytes = max(self.most_bytes, rss_bytes(self._app.pid))

    def _note(self) -> None:
        status = call(self._app.port, "status")
        self.most_admitted = int(status["requests"]["peak"])


def _in_words(made: Burst) -> str:
    answered = sum(one.status == _OK for one in made.first)
    p99_ms = percentile(_latencies(made), 0.99) * 1000
    return (
        f"{answered} let in, {len(made.refused)} refused (p99 {p99_ms:.0f} ms), "
        f"{made.lost} lost, {made.let_in_ratio:.0%} in at the first retry"
    )


def _latencies(made: Burst) -> list[float]:
    return [one.first_s - one.sent_s for one in made.refused]


def _figures(rounds: dict[str, list[Burst]]) -> list[Figure]:
    every = [made for some in rounds.values() for made in some]
    figures = [
        _each(
            "most admitted at any instant",
            "",
            [made.most_admitted for made in every],
            ADMITTED_GOAL,
        ),
        _each("hung, cut off or broken", "", [made.lost for made in every], NONE_GOAL),
        _each("refusals without Retry-After", "", [made.without_time for made in every], NONE_GOAL),
        _each("app RSS growth", "MB", [made.grown_bytes / MB for made in every], RSS_GOAL),
    ]
    for name in ("sessions", "one address"):
        some = rounds[name]
        times = [percentile(_latencies(made), 0.99) * 1000 for made in some]
        figures += [
            _each(f"refusal p99, {name}", "ms", times, LATENCY_GOAL, JudgedBy.MEDIAN),
            _each(
                f"in at the first retry, {name}",
                "",
                [made.let_in_ratio for made in some],
                RETRY_GOAL,
                JudgedBy.MEDIAN,
            ),
        ]
    connecting = [
        percentile([one.first_s - one.opened_s for one in made.refused], 0.99) * 1000
        for made in rounds["connecting"]
    ]
    return [*figures, _each("refusal p99, connecting included", "ms", connecting, None)]


def _each(
    name: str,
    unit: str,
    samples: Sequence[float],
    goal: Goal | None,
    judged_by: JudgedBy = JudgedBy.EVERY,
) -> Figure:
    if not samples or any(math.isnan(sample) for sample in samples):
        msg = f"burst: {name}: nobody was refused"
        raise BenchmarkError(msg)
    return Figure(
        scenario=_SCENARIO,
        name=name,
        unit=unit,
        measured=tuple(float(sample) for sample in samples),
        goal=goal,
        judged_by=judged_by,
    )

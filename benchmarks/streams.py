"""`streams`: eight answers at once through `/v1` against raw llama.cpp with eight slots.

Both are loaded, only one is busy; who goes first changes from round to round. Tokens per
second are those of all eight, by the time from the first request to the last text. Meanwhile
another process asks `/livez` fifty times a second.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from benchmarks.app_process import AppProcess
from benchmarks.burst import percentile
from benchmarks.figures import Compared, Figure, Goal
from benchmarks.process import Bystanders, Child
from benchmarks.raw_process import RawProcess
from benchmarks.subject import STORY_AGENT, Subject, say

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.stream_client import Streamed

STREAMS = 8
TOKENS = 128
WARM_UPS = 2
RATE_GOAL = Goal(bound=0.90, at_least=True)
LIVEZ_GOAL = Goal(bound=50.0)
_BUSY_CORES = 0.1
_SCENARIO = "streams"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Both sides' eight answers, and what `/livez` took while ours were made."""

    ours: list[Streamed]
    raw: dict[str, Any]
    livez_s: list[float]
    bystander_cores: float

    @property
    def our_rate(self) -> float:
        """Tokens per second of all eight through `/v1`."""
        begun_s = min(one.sent_s for one in self.ours)
        ended_s = max(one.last_s for one in self.ours)
        return sum(one.tokens for one in self.ours) / (ended_s - begun_s)

    @property
    def raw_rate(self) -> float:
        """The same of raw llama.cpp."""
        tokens = sum(int(one["tokens"]) for one in self.raw["answers"])
        return tokens / float(self.raw["seconds"])


def streams(subject: Subject, runs: int) -> list[Figure]:
    """Both sides by turns, with new questions in every round."""
    variables = {"ORION_RUNTIME": "llamacpp", "ORION_WORKER__SLOTS": str(STREAMS)}
    with AppProcess(**variables) as app, RawProcess(subject, slots=STREAMS) as raw:
        app.wait_live_s()
        app.wait_ready()
        made = []
        for index in range(-WARM_UPS, runs):
            one = _round(subject, app, raw, index)
            if index >= 0:
                made.append(one)
                say(f"{index + 1} of {runs}: {one.our_rate:.0f} and {one.raw_rate:.0f} tok/s")
    return _figures(made)


def _round(subject: Subject, app: AppProcess, raw: RawProcess, index: int) -> Round:
    texts = [question(STREAMS * (index + WARM_UPS) + number) for number in range(STREAMS)]
    sampling = subject.sampling(STORY_AGENT, max_tokens=TOKENS)
    requests = [
        {"messages": subject.messages(STORY_AGENT, text), "sampling": sampling} for text in texts
    ]
    bodies = [
        {**subject.body(STORY_AGENT, text, max_tokens=TOKENS), "session": f"stream-{number}"}
        for number, text in enumerate(texts)
    ]
    bystanders = Bystanders()
    theirs = raw.ask_all(requests) if index % 2 else None
    with LivezProbe(app.port) as probe, ThreadPoolExecutor(STREAMS) as threads:
        ours = list(threads.map(app.ask, bodies))
    theirs = theirs or raw.ask_all(requests)
    return Round(ours=ours, raw=theirs, livez_s=probe.taken_s, bystander_cores=bystanders.cores())


def question(number: int) -> str:
    """A new question; digits are tokens of their own, so that all have the same length."""
    return f"{number % 10000:04d} foxes cross a river. Write a long story about their new home."


class LivezProbe:
    """`benchmarks.livez_probe` at work as long as the context lasts."""

    def __init__(self, port: int) -> None:
        self.taken_s: list[float] = []
        self._child = Child("-m", "benchmarks.livez_probe", str(port), talks=True)

    def __enter__(self) -> Self:
        self._child.first_byte_s()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                told, _ = self._child.process.communicate(timeout=30.0)
                self.taken_s = json.loads(told)
        finally:
            self._child.end()


def _figures(rounds: list[Round]) -> list[Figure]:
    note = f"{STREAMS} answers of {TOKENS} tokens"
    others = max(one.bystander_cores for one in rounds)
    if others > _BUSY_CORES:
        note += f"; other work took up to {others:.1f} cores"
    return [
        Figure(
            scenario=_SCENARIO,
            name=f"tokens/s of {STREAMS} streams through /v1",
            unit="tok/s",
            measured=tuple(one.our_rate for one in rounds),
            baseline=tuple(one.raw_rate for one in rounds),
            baseline_name=f"raw llama.cpp, {STREAMS} slots",
            compared=Compared.RATIO,
            goal=RATE_GOAL,
            note=note,
        ),
        Figure(
            scenario=_SCENARIO,
            name="/livez p99 meanwhile",
            unit="ms",
            measured=tuple(percentile(one.livez_s, 0.99) * 1000 for one in rounds),
            goal=LIVEZ_GOAL,
        ),
    ]

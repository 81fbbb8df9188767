"""`decode` and `ttft`: the product through `/v1` against raw llama.cpp, turn by turn.

Both are loaded, only one is busy; who goes first changes from round to round.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.app_process import AppProcess
from benchmarks.figures import Compared, Figure, Goal
from benchmarks.process import Bystanders, cpu_s
from benchmarks.raw_process import RawProcess
from benchmarks.subject import CHAT_AGENT, STORY_AGENT, Subject, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stream_client import Streamed

STORY = "Write a long story about a fox who crosses a river to find a new home."
STORY_TOKENS = 200
FIRST_TOKENS = 4
_BUSY_CORES = 0.1
DECODE_GOAL = Goal(bound=0.90, at_least=True)
TTFT_GOAL = Goal(bound=25.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Both sides' answers to the same prompt, and how many cores other work took meanwhile."""

    ours: Streamed
    raw: dict[str, Any]
    cpu_s: float
    bystander_cores: float

    @property
    def same_text(self) -> bool:
        """Whether both wrote the same, as greedy decoding of one file should."""
        return bool(self.ours.text == self.raw["text"])

    @property
    def same_work(self) -> bool:
        """Whether prompt, cached part and answer have the same lengths on both sides."""
        ours = (self.ours.prompt_tokens, self.ours.cached_tokens, self.ours.tokens)
        return ours == tuple(self.raw[f"{part}tokens"] for part in ("prompt_", "cached_", ""))


def decode(subject: Subject, runs: int) -> list[Figure]:
    """Tokens per second after the first, and what a token costs the app's process."""
    rounds = _rounds(subject, runs, STORY_AGENT, lambda _: STORY, max_tokens=STORY_TOKENS)
    return [
        Figure(
            scenario="decode",
            name="tokens/s through /v1",
            unit="tok/s",
            measured=tuple(one.ours.tokens_per_s for one in rounds),
            baseline=tuple(one.raw["tokens_per_s"] for one in rounds),
            baseline_name="raw llama.cpp",
            compared=Compared.RATIO,
            goal=DECODE_GOAL,
            note=_note(rounds),
        ),
        Figure(
            scenario="decode",
            name="app CPU per token",
            unit="µs",
            measured=tuple(one.cpu_s / one.ours.tokens * 1e6 for one in rounds),
        ),
    ]


def ttft(subject: Subject, runs: int) -> list[Figure]:
    """Request sent → first text, warm: the system prompt is cached, the question is new."""
    rounds = _rounds(subject, runs, CHAT_AGENT, _question, max_tokens=FIRST_TOKENS)
    return [
        Figure(
            scenario="ttft",
            name="first text through /v1",
            unit="ms",
            measured=tuple(one.ours.ttft_s * 1000 for one in rounds),
            baseline=tuple(one.raw["ttft_s"] * 1000 for one in rounds),
            baseline_name="raw llama.cpp",
            compared=Compared.DIFFERENCE,
            goal=TTFT_GOAL,
            note=_note(rounds),
        )
    ]


def _question(index: int) -> str:
    # Digits are tokens of their own: every question re-prefills the same number of them.
    return f"{index % 10000:04d} is a number. What is special about it, and why do people like it?"


def _rounds(
    subject: Subject, runs: int, agent: str, text_of: Callable[[int], str], *, max_tokens: int
) -> list[Round]:
    sampling = subject.sampling(agent, max_tokens=max_tokens)
    with AppProcess(ORION_RUNTIME="llamacpp") as app, RawProcess(subject) as raw:
        app.wait_live_s()
        app.wait_ready()

        def one(index: int) -> Round:
            text = text_of(index)
            body = subject.body(agent, text, max_tokens=max_tokens)
            messages = subject.messages(agent, text)
            bystanders = Bystanders()
            theirs = raw.ask(messages, sampling) if index % 2 else None
            before_s = cpu_s(app.child.pid)
            ours = app.ask(body)
            used_s = cpu_s(app.child.pid) - before_s
            theirs = theirs or raw.ask(messages, sampling)
            return Round(ours=ours, raw=theirs, cpu_s=used_s, bystander_cores=bystanders.cores())

        for warm_up in range(2):
            one(9000 + warm_up)
        rounds = []
        for index in range(runs):
            rounds.append(one(index))
            say(f"{index + 1} of {runs}")
        return rounds


def _note(rounds: list[Round]) -> str:
    unlike = sum(not one.same_text for one in rounds)
    unequal = sum(not one.same_work for one in rounds)
    first = rounds[0].ours
    parts = [
        f"{first.prompt_tokens} prompt tokens",
        f"{first.cached_tokens} of them cached",
        f"{first.tokens} tokens written in {first.deltas} pieces",
    ]
    bystanders = median(one.bystander_cores for one in rounds)
    if bystanders > _BUSY_CORES:
        parts.append(f"other work took {bystanders:.1f} cores meanwhile (median)")
    if unequal:
        parts.append(f"{unequal} of {len(rounds)} rounds were not the same work on both sides")
    elif unlike:
        parts.append(f"{unlike} of {len(rounds)} texts differ between the two sides")
    return ", ".join(parts)

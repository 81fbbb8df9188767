"""`turns`: the second turn of a long conversation against the same prompt out of nothing.

Each round is a conversation of its own: its text begins differently, so that nothing but the
system prompt is known from before. The second turn is asked in its session and, as a whole,
in a fresh one; who goes first changes from round to round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.app_process import AppProcess
from benchmarks.figures import Compared, Figure, Goal
from benchmarks.subject import CHAT_AGENT, Subject, say

if TYPE_CHECKING:
    from benchmarks.stream_client import Streamed

SENTENCES = 118
SENTENCE = "The ferry left the harbour at noon with a crew of seven. "
FIRST_TOKENS = 16
SECOND_TOKENS = 4
FOLLOW_UP = "How many people were in the crew?"
TURN_GOAL = Goal(bound=0.25)
_SCENARIO = "turns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The second turn in its own session, and the same prompt in a fresh one."""

    second: Streamed
    fresh: Streamed


def turns(_subject: Subject, runs: int) -> list[Figure]:
    """As many conversations as rounds, after one to warm up."""
    with AppProcess(ORION_RUNTIME="llamacpp") as app:
        app.wait_live_s()
        app.wait_ready()
        made = []
        for index in range(-1, runs):
            one = _turn(app, index)
            if index >= 0:
                made.append(one)
                say(f"{index + 1} of {runs}: {one.second.ttft_s:.3f} s, {one.fresh.ttft_s:.3f} s")
    last = made[-1]
    return [
        Figure(
            scenario=_SCENARIO,
            name="first text of the second turn",
            unit="ms",
            measured=tuple(one.second.ttft_s * 1000 for one in made),
            baseline=tuple(one.fresh.ttft_s * 1000 for one in made),
            baseline_name="same prompt, fresh session",
            compared=Compared.RATIO,
            goal=TURN_GOAL,
            note=(
                f"{last.second.prompt_tokens} prompt tokens, {last.second.cached_tokens} of them "
                f"cached; in the fresh session {last.fresh.cached_tokens}"
            ),
        )
    ]


def _turn(app: AppProcess, index: int) -> Turn:
    opening = {"role": "user", "content": long_text(index)}
    first = app.ask(_body([opening], f"turn-{index}", FIRST_TOKENS))
    answer = {"role": "assistant", "content": first.text}
    messages = [opening, answer, {"role": "user", "content": FOLLOW_UP}]
    second, fresh = f"turn-{index}", f"fresh-{index}"
    order = (second, fresh) if index % 2 else (fresh, second)
    asked = {session: app.ask(_body(messages, session, SECOND_TOKENS)) for session in order}
    return Turn(second=asked[second], fresh=asked[fresh])


def long_text(number: int) -> str:
    """A text of about 1,500 tokens, whatever the number, that begins like no other."""
    return f"{number % 10000:04d} is the number of this log. " + SENTENCE * SENTENCES


def _body(messages: list[dict[str, str]], session: str, max_tokens: int) -> dict[str, Any]:
    return {
        "model": CHAT_AGENT,
        "messages": messages,
        "session": session,
        "max_tokens": max_tokens,
        "temperature": 0,
    }

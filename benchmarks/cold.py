"""`cold`: from the start of a process to the page, and to the first token."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.app_process import AppProcess
from benchmarks.figures import Compared, Figure, Goal
from benchmarks.process import Child
from benchmarks.subject import CHAT_AGENT, say

if TYPE_CHECKING:
    from benchmarks.subject import Subject

QUESTION = "What is a black hole?"
TOKENS = 8
LIVE_GOAL = Goal(bound=1.5)
ASK_GOAL = Goal(bound=0.3)
PAGE_GOAL = Goal(bound=0.8)
_SCENARIO = "cold"


def cold(subject: Subject, runs: int) -> list[Figure]:
    """Fresh processes, one kind after the other in each round.

    Round 0 has an empty ORION_HOME, is shown by itself and warms the disk for the rest.
    """
    checkpoint = subject.checkpoint()
    with tempfile.TemporaryDirectory(prefix="orion-bench-") as home:
        first_ask_s = _ask_s(home=Path(home))
    with tempfile.TemporaryDirectory(prefix="orion-bench-") as home:
        first_live_s, first_page_s = _serve_s(subject, home=Path(home))
    _naive_s(subject, checkpoint)
    gradio, live, page, ask, naive = [], [], [], [], []
    for index in range(runs):
        gradio.append(_import_s("gradio"))
        live_s, page_s = _serve_s(subject)
        live.append(live_s)
        page.append(page_s)
        naive.append(_naive_s(subject, checkpoint))
        ask.append(_ask_s())
        say(f"{index + 1} of {runs}")
    script = "naive transformers script"
    return [
        _ratio("start → /livez", live, gradio, "import gradio", LIVE_GOAL),
        _ratio("start → first token, orion ask", ask, naive, script, ASK_GOAL),
        _ratio("start → first token, page", page, naive, script, PAGE_GOAL),
        _alone("very first start → /livez", first_live_s),
        _alone("very first start → first token, orion ask", first_ask_s),
        _alone("very first start → first token, page", first_page_s),
    ]


def _ratio(name: str, ours: list[float], theirs: list[float], baseline: str, goal: Goal) -> Figure:
    return Figure(
        scenario=_SCENARIO,
        name=name,
        unit="s",
        measured=tuple(ours),
        baseline=tuple(theirs),
        baseline_name=baseline,
        compared=Compared.RATIO,
        goal=goal,
    )


def _alone(name: str, seconds: float) -> Figure:
    return Figure(scenario=_SCENARIO, name=name, unit="s", measured=(seconds,))


def _home(home: Path | None) -> dict[str, str]:
    return {} if home is None else {"ORION_HOME": str(home)}


def _import_s(module: str) -> float:
    with Child("-c", f"import {module}") as child:
        return child.finished_s()


def _ask_s(*, home: Path | None = None) -> float:
    """Start → first byte of the answer on standard output."""
    command = ("-m", "orion", "ask", QUESTION, "--agent", CHAT_AGENT, "--max-tokens", str(TOKENS))
    with Child(*command, environment=_home(home)) as child:
        first_s = child.first_byte_s()
        child.finished_s()
        return first_s


def _naive_s(subject: Subject, checkpoint: Path) -> float:
    """Start → first byte of the answer on standard output."""
    messages = [
        {"role": role, "content": text} for role, text in subject.messages(CHAT_AGENT, QUESTION)
    ]
    command = ("-m", "benchmarks.naive_transformers", str(checkpoint), json.dumps(messages))
    with Child(*command) as child:
        first_s = child.first_byte_s()
        child.finished_s()
        return first_s


def _serve_s(subject: Subject, *, home: Path | None = None) -> tuple[float, float]:
    """Start → `/livez`, and start → first text of a question posted at that moment."""
    with AppProcess(**_home(home)) as app:
        live_s = app.wait_live_s()
        answer = app.ask(subject.body(CHAT_AGENT, QUESTION, max_tokens=TOKENS))
        return live_s, answer.first_s - app.child.begun_s

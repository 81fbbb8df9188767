"""`switch`: what it costs to ask another agent than before.

On a shared model: the other agent against the same agent twice, with questions of one length.
On a model that is not resident: the app, which has one place, a warm spare and the file in the
page cache, against `orion ask` from the start of its process; raw llama.cpp is shown beside
it. With the model on its way since the question was being typed: a draft, a second, then the
question, against the same agent with its model resident. Both models are the embedded one
under two names.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.app_process import AppProcess
from benchmarks.chaos.ground import engine_on_model
from benchmarks.chaos.http_client import call
from benchmarks.figures import Compared, Figure, Goal
from benchmarks.process import BenchmarkError, Child
from benchmarks.raw_process import RawProcess
from benchmarks.subject import CHAT_AGENT, MODEL, Subject, say
from orion.settings import PACKAGE_ROOT
from orion.types import ErrorEvent, FinalEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.engine import Engine

OTHER_AGENT, CODE_AGENT = "reasoning-agent", "code-agent"
OTHER_MODEL = f"{MODEL}-again"
TOKENS = 4
TYPING_S = 1.0
SHARED_GOAL = Goal(bound=1.1)
ABSENT_GOAL = Goal(bound=0.5)
TYPED_GOAL = Goal(bound=1.2)
_SPARE_LIMIT_S = 60.0
_SCENARIO = "switch"


def switch(subject: Subject, runs: int) -> list[Figure]:
    """The three figures, one after the other."""
    with tempfile.TemporaryDirectory(prefix="orion-bench-") as folder:
        registry = _write_registry(Path(folder))
        figures = [_shared(subject, runs), *_absent(subject, runs, registry)]
        return [*figures, _typed(runs, registry)]


def _write_registry(folder: Path) -> Path:
    """The shipped registry, where one agent has a model of its own: the same file."""
    document = json.loads((PACKAGE_ROOT / "models.json").read_text(encoding="utf-8"))
    document["models"][OTHER_MODEL] = copy.deepcopy(document["models"][MODEL])
    document["agents"][CODE_AGENT]["model"] = OTHER_MODEL
    path = folder / "models.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def question(number: int) -> str:
    """A new question; digits are tokens of their own, so that all have the same length."""
    return f"{number % 10000:04d} is a number. What is special about it?"


def _shared(subject: Subject, runs: int) -> Figure:
    """Ask one agent, another (the switch), and that one again (no switch)."""
    sides = []
    with AppProcess(ORION_RUNTIME="llamacpp") as app:
        app.wait_live_s()
        app.wait_ready()
        for index in range(-2, runs):
            agents = (CHAT_AGENT, OTHER_AGENT)
            before, after = agents if index % 2 else agents[::-1]
            asked = []
            for place, agent in enumerate((before, after, after)):
                text = question(3 * (index + 2) + place)
                body = subject.body(agent, text, max_tokens=TOKENS)
                asked.append(app.ask({**body, "session": "switch"}).ttft_s)
            if index >= 0:
                sides.append((asked[1], asked[2]))
        say(f"shared model, {runs} rounds")
    return _figure("another agent on the same model", sides, "same agent again", SHARED_GOAL)


def _absent(subject: Subject, runs: int, registry: Path) -> list[Figure]:
    """The model of the agent asked is never the resident one: there is one place."""
    sides, raw_sides, parts = [], [], []
    variables = {"ORION_REGISTRY": str(registry), "ORION_WORKERS": "1", "ORION_RUNTIME": "llamacpp"}
    with AppProcess(**variables, ORION_PREDICTION__ENABLED="false") as app:
        app.wait_live_s()
        app.wait_ready()
        for index in range(-1, runs):
            _wait_for_spare(lambda: list(call(app.port, "status")["workers"]))
            agent, text = CODE_AGENT if index % 2 else CHAT_AGENT, question(index + 1)
            body = subject.body(agent, text, max_tokens=TOKENS)
            answer = app.ask({**body, "session": "switch"})
            timings = answer.orion["timings"]
            _check(timings["start"] == "cold", "the model was resident already")
            fresh_s, raw_s = _fresh_s(agent, text), _raw_s(subject, agent, text)
            if index >= 0:
                sides.append((answer.ttft_s, fresh_s))
                raw_sides.append((answer.ttft_s, raw_s))
                parts.append(timings)
        say(f"absent model, {runs} rounds")
    note = "medians: " + ", ".join(
        f"{part} {median(one[part] for one in parts) * 1000:.0f} ms"
        for part in ("queue_s", "load_s", "prefill_s")
    )
    name = "an agent whose model is not there"
    return [
        _figure(name, sides, "`orion ask`, start → text", ABSENT_GOAL, note=note),
        _figure(name, raw_sides, "raw llama.cpp, start → text", None),
    ]


def _raw_s(subject: Subject, agent: str, text: str) -> float:
    """Start of a process that does nothing but load the file → its first text."""
    begun_s = time.monotonic()
    with RawProcess(subject) as raw:
        loaded_s = time.monotonic() - begun_s
        sampling = subject.sampling(agent, max_tokens=TOKENS)
        return loaded_s + float(raw.ask(subject.messages(agent, text), sampling)["ttft_s"])


def _fresh_s(agent: str, text: str) -> float:
    """Start of a process that asks one question (`orion ask`) → first byte of its answer."""
    command = ("-m", "orion", "ask", text, "--agent", agent, "--max-tokens", str(TOKENS))
    with Child(*command) as child:
        first_s = child.first_byte_s()
        child.finished_s()
        return first_s


def _wait_for_spare(workers: Callable[[], list[dict[str, Any]]]) -> None:
    """Until one worker holds a model and the next one is warm."""
    until_s = time.monotonic() + _SPARE_LIMIT_S
    while sorted(worker["state"] for worker in workers()) != ["ready", "spare"]:
        _check(time.monotonic() < until_s, "no spare worker becomes warm")
        time.sleep(0.05)


def _typed(runs: int, registry: Path) -> Figure:
    """Ask one agent; draft for the other, whose model is absent; ask it, and ask it again."""
    sides = []
    # Only what is drafted is loaded ahead: the rounds themselves are a habit one could learn.
    options = {"workers": 1, "worker": {"spares": 1}, "prediction": {"confidence": 1.0}}
    with engine_on_model(registry=registry, **options) as engine:
        engine.keep_spares()
        for index in range(-1, runs):
            agents = (CHAT_AGENT, CODE_AGENT)
            before, after = agents if index % 2 else agents[::-1]
            _ttft_s(engine, before, 4 * index)
            _wait_for_spare(lambda: list(engine.stats()["workers"]))
            engine.draft(question(4 * index + 1), session="switch", agent=after)
            time.sleep(TYPING_S)
            typed_s = _ttft_s(engine, after, 4 * index + 1)
            _wait_for_spare(lambda: list(engine.stats()["workers"]))
            warm_s = _ttft_s(engine, after, 4 * index + 2)
            if index >= 0:
                sides.append((typed_s, warm_s))
        say(f"as you type, {runs} rounds")
    name = f"the same, drafted {TYPING_S:g} s before"
    return _figure(name, sides, "model resident", TYPED_GOAL)


def _ttft_s(engine: Engine, agent: str, number: int) -> float:
    options: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.0}
    for event in engine.stream(question(number), agent=agent, session="switch", **options):
        if isinstance(event, ErrorEvent):
            raise BenchmarkError(event.error.public_message)
        if isinstance(event, FinalEvent):
            _check(event.answer.timings.ttft_s is not None, "an answer without text")
            return float(event.answer.timings.ttft_s or 0.0)
    msg = "an answer without an end"
    raise BenchmarkError(msg)


def _check(holds: bool, complaint: str) -> None:
    if not holds:
        msg = f"switch: {complaint}"
        raise BenchmarkError(msg)


def _figure(
    name: str, sides: list[tuple[float, float]], baseline: str, goal: Goal | None, note: str = ""
) -> Figure:
    return Figure(
        scenario=_SCENARIO,
        name=name,
        unit="ms",
        measured=tuple(ours * 1000 for ours, _ in sides),
        baseline=tuple(theirs * 1000 for _, theirs in sides),
        baseline_name=baseline,
        compared=Compared.RATIO,
        goal=goal,
        note=note,
    )

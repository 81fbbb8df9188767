"""`memory`: what the app's process holds after answers, and what an unload gives back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.app_process import AppProcess
from benchmarks.figures import Figure, Goal, JudgedBy
from benchmarks.process import BenchmarkError, child_pids, rss_bytes, tree_pss_bytes
from benchmarks.subject import CHAT_AGENT, MODEL, Subject, say

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTION = "Give me three tips to sleep better."
TOKENS = 24
ANSWERS = 20
MB = 1e6
RSS_GOAL = Goal(bound=450.0)
BACK_GOAL = Goal(bound=20.0)
GONE_GOAL = Goal(bound=0.0)
_SETTLED_BYTES = 1_000_000
_SETTLE_LIMIT_S = 20.0
_SCENARIO = "memory"


def memory(subject: Subject, runs: int) -> list[Figure]:
    """Load, answer and unload `runs` times; then `runs` times twenty answers."""
    held, left, resident, grown = [], [], [], []
    with AppProcess(ORION_PRELOAD="false", ORION_RUNTIME="llamacpp") as app:
        app.wait_live_s()
        control = _Control(app)
        control.settle()
        body = subject.body(CHAT_AGENT, QUESTION, max_tokens=TOKENS)
        for index in range(runs):
            before, children = tree_pss_bytes(app.child.pid), child_pids(app.child.pid)
            app.ask(body)
            worker = control.worker_pid()
            control.settle()
            held.append((tree_pss_bytes(app.child.pid) - before) / MB)
            control.unload()
            now = control.settle()
            left.append(float(len(now) - len(children) + (worker in now)))
            grown.append((tree_pss_bytes(app.child.pid) - before) / MB)
            say(f"load and unload {index + 1} of {runs}")
        for index in range(runs):
            for _ in range(ANSWERS):
                app.ask(body)
            resident.append(rss_bytes(app.child.pid) / MB)
            say(f"{ANSWERS * (index + 1)} answers")
    note = f"after {ANSWERS}, {2 * ANSWERS}, … answers in one process: " + ", ".join(
        f"{size:.0f}" for size in resident
    )
    return [
        _each("app RSS after 20 answers", "MB", resident, RSS_GOAL, note=note),
        _each("children left by an unload", "", left, GONE_GOAL),
        _each(
            "|memory after unload - before load|",
            "MB",
            [abs(size) for size in grown],
            BACK_GOAL,
            note="signed: " + ", ".join(f"{size:+.1f}" for size in grown),
        ),
        Figure(scenario=_SCENARIO, name="memory while loaded", unit="MB", measured=tuple(held)),
    ]


def _each(name: str, unit: str, samples: list[float], goal: Goal, *, note: str = "") -> Figure:
    return Figure(
        scenario=_SCENARIO,
        name=name,
        unit=unit,
        measured=tuple(samples),
        goal=goal,
        judged_by=JudgedBy.EVERY,
        note=note,
    )


class _Control:
    """The app's own endpoints, for looking inside and for unloading."""

    def __init__(self, app: AppProcess) -> None:
        from gradio_client import Client

        self._app = app
        self._client = Client(app.url, verbose=False)

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = self._client.predict(api_name="/status")
        return status

    def worker_pid(self) -> int:
        """The process that holds the model."""
        for worker in self._status()["workers"]:
            if worker["model"] == MODEL:
                return int(worker["pid"])
        msg = f"no worker holds {MODEL}"
        raise BenchmarkError(msg)

    def unload(self) -> None:
        """End the model's worker."""
        result = self._client.predict(MODEL, self._app.token, api_name="/unload")
        if not result["unloaded"]:
            msg = f"{MODEL} was not unloaded"
            raise BenchmarkError(msg)

    def settle(self) -> set[int]:
        """Wait until the spare worker is warm and memory stands still; the children then."""
        self._until(self._spares_warm)
        before = tree_pss_bytes(self._app.child.pid)

        def still() -> bool:
            nonlocal before
            time.sleep(0.5)
            last, before = before, tree_pss_bytes(self._app.child.pid)
            return abs(before - last) < _SETTLED_BYTES

        self._until(still)
        return child_pids(self._app.child.pid)

    def _spares_warm(self) -> bool:
        states = [worker["state"] for worker in self._status()["workers"]]
        return "spare" in states and not {"starting", "leaving", "loading"} & set(states)

    def _until(self, condition: Callable[[], bool]) -> None:
        until_s = time.monotonic() + _SETTLE_LIMIT_S
        while not condition():
            if time.monotonic() > until_s:
                self._app.child.fail("its workers do not settle")
            time.sleep(0.05)

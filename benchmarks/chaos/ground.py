"""Where the faults strike: engines and apps on the scripted runtime, each in its own folder."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.app_process import AppProcess
from benchmarks.chaos.table import Row
from orion.build import build_engine
from orion.settings import PACKAGE_ROOT, LogFormat, LogSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from orion.engine import Engine

SCRIPTED = "tests.fakes.runtime:FakeRuntime"
MAIN, SECOND, THIRD = "smollm2-135m-instruct", "second-model", "third-model"
CHAT, CODE, CREATIVE = "conversation-agent", "code-agent", "creative-agent"
MODEL_OF = {CHAT: MAIN, CODE: SECOND, CREATIVE: THIRD}
PATIENT = {"failures": 1_000_000, "minimum_calls": 1_000_000}
"""Breaker settings for the scenarios whose subject the breaker is not: faults come too fast."""

_END_S = 20.0
_BUGS = ("event_failed", "crashed", "request_broke", "stream_broke", "unkillable", "Traceback")


@dataclass(slots=True)
class Journal:
    """What a program wrote to standard error; the lines that tell of a bug can be counted."""

    text: str = ""

    @property
    def bugs(self) -> list[str]:
        """The start of each line that no fault explains: a crash of the product itself."""
        return [
            line[:300]
            for line in self.text.splitlines()
            if any(word in line for word in _BUGS) and "worker.died" not in line
        ]


def quiet_row(figure: str, journal: Journal, where: str) -> Row:
    """That the product itself did not crash anywhere, whatever the faults did to its workers."""
    return Row(
        figure=figure,
        what=f"no crash of the product itself: {where}",
        goal="0 lines of the log",
        measured=f"{len(journal.bugs)} lines",
        met=not journal.bugs,
        details={"lines": journal.bugs[:10]},
    )


def seeded(seed: int | str) -> Random:
    """Choices that come again with the same seed."""
    return Random(seed)  # noqa: S311 - to be repeated, not to be a secret


def pool(engine: Engine) -> dict[str, int]:
    """Model → process id of the worker that answers for it now."""
    return pool_of(engine.stats())


def pool_of(stats: dict[str, Any]) -> dict[str, int]:
    """The same of `/status`."""
    return {
        str(worker["model"]): int(worker["pid"])
        for worker in stats["workers"]
        if worker["state"] == "ready"
    }


def write_registry(folder: Path) -> Path:
    """The shipped registry with three equal models for three agents, and a way out for each."""
    document = json.loads((PACKAGE_ROOT / "models.json").read_text(encoding="utf-8"))
    for name in (SECOND, THIRD):
        document["models"][name] = copy.deepcopy(document["models"][MAIN])
    for agent, model in MODEL_OF.items():
        document["agents"][agent]["model"] = model
    document["agents"][CHAT]["fallback"] = [CODE]
    path = folder / "models.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@contextlib.contextmanager
def engine_on_script(journal: Journal | None = None, **given: Any) -> Iterator[Engine]:
    """An engine in this process whose workers are processes on the scripted runtime."""
    journal = journal or Journal()
    lines = io.StringIO()
    with TemporaryDirectory(prefix="orion-chaos-") as name, contextlib.redirect_stderr(lines):
        options: dict[str, Any] = {
            "home": Path(name),
            "registry": write_registry(Path(name)),
            "runtime_class": SCRIPTED,
            "workers": 2,
            "worker": {"spares": 0},
            "log": LogSettings(level="ERROR", format=LogFormat.JSON),
        }
        engine = build_engine(Settings(**{**options, **given}))
        try:
            yield engine
        finally:
            engine.shutdown(grace_s=0.0)
            journal.text += lines.getvalue()


@contextlib.contextmanager
def engine_on_model(**given: Any) -> Iterator[Engine]:
    """An engine in this process on the embedded model, with this installation's home."""
    options: dict[str, Any] = {"log": LogSettings(level="CRITICAL"), "worker": {"spares": 0}}
    with build_engine(Settings(**{**options, **given})) as engine:
        yield engine


class ScriptedApp(AppProcess):
    """`app.py` on the scripted runtime, with its own home and its own place for scratch files.

    Args:
        folder: Where both are made.
        journal: Gets what it wrote to standard error, once it has ended.
        variables: `ORION_*` variables besides.
    """

    def __init__(self, folder: Path, journal: Journal, **variables: str) -> None:
        self.journal = journal
        self.scratch = folder / "tmp"
        self.scratch.mkdir(parents=True, exist_ok=True)
        super().__init__(
            **{
                "ORION_HOME": str(folder / "home"),
                "ORION_REGISTRY": str(write_registry(folder)),
                "ORION_RUNTIME_CLASS": SCRIPTED,
                "ORION_WORKERS": "2",
                "ORION_LOG__LEVEL": "ERROR",
                "TMPDIR": str(self.scratch),
                **variables,
            }
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.child.process.poll() is None:
            self.child.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.process.wait(_END_S)
        self.journal.text += self.child.errors()
        super().__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    def leftovers(self) -> list[str]:
        """Files in its scratch folder."""
        found = (path for path in self.scratch.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.scratch)) for path in found)

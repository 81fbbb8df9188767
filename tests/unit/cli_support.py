"""Running `orion` commands in this process, on the fake runtime."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orion.cli import main
from orion.settings import PACKAGE_ROOT

FAKE_RUNTIME = "tests.fakes.runtime:FakeRuntime"


@dataclass(frozen=True)
class Ran:
    """What a command left: its status and its words."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output; fails when there is not exactly one."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """Standard output as JSONL."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error_line(self) -> str:
        """The one line on standard error; fails when there is not exactly one."""
        (line,) = self.err.splitlines()
        assert line.startswith("orion: error: ")
        assert "Traceback" not in line
        return line


class Orion:
    """`orion(…)` runs a command and gives back what it left."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.set(HOME=home, REGISTRY=PACKAGE_ROOT / "models.json", EXECUTOR="inprocess")
        self.set(RUNTIME_CLASS=FAKE_RUNTIME, LOG__FORMAT="json")

    def set(self, **variables: Any) -> None:
        """Set `ORION_…` variables."""
        for name, value in variables.items():
            self._monkeypatch.setenv(f"ORION_{name}", str(value))

    def stdin(self, content: bytes) -> None:
        """What the next command reads from standard input."""
        stream = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
        self._monkeypatch.setattr("sys.stdin", stream)

    def __call__(self, *arguments: str | Path) -> Ran:
        """Run a command."""
        status = main([str(argument) for argument in arguments])
        left = self._capsys.readouterr()
        return Ran(status, left.out, left.err)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

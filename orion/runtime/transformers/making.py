"""Starts the process that makes derived checkpoints, and passes on how far it is.

Converting needs a gigabyte that a worker would keep for its life; a process of its own
gives it back. It is named, not imported: tools and runtimes do not know each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from orion.errors import ConversionError, error_from_wire
from orion.settings import PACKAGE_ROOT, worker_environment

if TYPE_CHECKING:
    from pathlib import Path

    from orion.runtime.base import Progress

_MAKER = "orion.pipeline.child"
_END_S = 5.0


def make_derived(
    gguf: Path, *, base: Path, nf4: Path | None, dtype: str, progress: Progress
) -> dict[str, Any]:
    """Import `gguf` into `base`, and quantise that into `nf4` where wanted.

    What is finished already is not made again. The child ends when this process does.

    Raises:
        ConversionError: The file is refused, the disk is full, or the child died.
        HomeNotWritableError: The result cannot be stored.
    """
    progress("importing", 0.0)
    wanted = {"gguf": str(gguf), "base": str(base)}
    if nf4 is not None:
        wanted |= {"nf4": str(nf4), "dtype": dtype}
    environment = worker_environment()
    paths = [str(PACKAGE_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    child = subprocess.Popen(
        [sys.executable, "-m", _MAKER, json.dumps(wanted)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        outcome = _follow(child, progress)
    finally:
        _end(child)
    if outcome[0] == "done":
        facts: dict[str, Any] = outcome[1]
        return facts
    if outcome[0] == "error":
        raise error_from_wire(outcome[1], outcome[2])
    reason = f"the importing process ended (exit code {child.returncode})"
    raise ConversionError(source=gguf.name, reason=reason)


def _follow(child: subprocess.Popen[bytes], progress: Progress) -> list[Any]:
    assert child.stdout
    outcome: list[Any] = ["died"]
    for line in child.stdout:
        report = json.loads(line)
        if report[0] == "progress":
            progress(report[1], report[2])
        else:
            outcome = report
    child.wait()
    return outcome


def _end(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

"""`orion import-gguf` and `orion bench`: work that runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import typer

from orion.errors import ConversionError, error_from_wire
from orion.settings import PACKAGE_ROOT, worker_environment

if TYPE_CHECKING:
    from pathlib import Path

    from orion.cli.output import Console

_END_S = 5.0


def run_import_gguf(console: Console, file: Path, out: Path) -> None:
    """Convert in a child, so that torch is never imported here.

    Raises:
        OrionError: What the conversion raised.
    """
    result = run_tool(
        "orion.pipeline.import_gguf:import_gguf", [str(file), str(out)], console=console
    )
    if console.as_json:
        console.document(result)
        return
    for name, value in result.items():
        console.line(f"{name}: {value}")


def run_tool(function: str, paths: list[str], *, console: Console) -> dict[str, Any]:
    """Call `function(*paths, progress=…)`, named `module:name`, in a child of ours.

    The child ends when this process does: it watches its standard input.

    Raises:
        OrionError: What the function raised.
        ConversionError: The child died.
    """
    command = [sys.executable, "-m", "orion.cli.tool_child", function, *paths]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=worker_environment()
    )
    outcome: dict[str, Any] = {}
    try:
        assert child.stdout is not None
        for line in child.stdout:
            report = json.loads(line)
            if "progress" in report:
                console.progress(report["progress"], report["ratio"])
            else:
                outcome = report
    finally:
        console.end_progress()
        end(child)
    if "error" in outcome:
        raise error_from_wire(outcome["error"], outcome["facts"])
    if "result" not in outcome:
        reason = f"its process ended (exit code {child.returncode})"
        raise ConversionError(source=paths[0], reason=reason)
    result: dict[str, Any] = outcome["result"]
    return result


def run_bench(console: Console, scenario: str | None) -> None:
    """Run the measuring programs of the source tree; their words are ours.

    Raises:
        typer.Exit: Their exit status, where it is not 0.
    """
    if not (PACKAGE_ROOT / "benchmarks" / "__main__.py").is_file():
        message = "this installation has no source tree: run bench in a clone of the repository."
        console.error(message, code="no_source_tree")
        raise typer.Exit(1)
    command = [sys.executable, "-m", "benchmarks"]
    command += ["--scenario", scenario] if scenario else []
    command += ["--json"] if console.as_json else []
    child = subprocess.Popen(command, cwd=PACKAGE_ROOT)
    try:
        status = child.wait()
    finally:
        end(child)
    if status:
        raise typer.Exit(status if status > 0 else 1)


def end(child: subprocess.Popen[bytes]) -> None:
    """See that the child is gone and its pipes are closed.

    A child with a standard input of ours ends when that closes; it gets a moment for it.
    """
    if child.stdin is not None:
        child.stdin.close()
    elif child.poll() is None:
        child.terminate()
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()

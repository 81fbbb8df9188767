"""Offline tools that do nothing, or misbehave: run in a child by their names."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from orion.errors import ConversionError, InvalidQueryError


def fine(*paths: Path, progress: Any) -> dict[str, Any]:
    """Tell progress, print as libraries do, and end well."""
    progress("importing", None)
    progress("importing", 0.5)
    sys.stdout.write("a library speaks\n")
    sys.stdout.flush()
    return {"paths": [str(path) for path in paths], "pid": os.getpid()}


def refuses(source: Path, *, progress: Any) -> None:
    """Refuse the file."""
    raise ConversionError(source=source.name, reason="it is a test")


def misreads(source: Path, *, progress: Any) -> None:
    """Another error of the house."""
    raise InvalidQueryError(field="file", reason="is odd")


def dies(source: Path, *, progress: Any) -> None:
    """Leave without a word."""
    os._exit(9)


def raises(source: Path, *, progress: Any) -> None:
    """An error nobody foresaw."""
    raise RuntimeError("unforeseen")


def needs_a_package(source: Path, *, progress: Any) -> None:
    """Import what is not there."""
    import orion_absent_package  # type: ignore[import-not-found]  # noqa: F401


def hangs(out: Path, *, progress: Any) -> None:
    """Begin a folder as the offline tools do, and never end it."""
    temporary = out.parent / f".{out.name}.making-{os.getpid()}-x"
    temporary.mkdir()
    progress("importing", None)
    threading.Event().wait()

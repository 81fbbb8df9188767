"""What commands write: documents to standard output, everything else to standard error."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class OutputClosedError(Exception):
    """Whoever read standard output reads no more (`orion … | head`)."""


@dataclass(slots=True)
class Console:
    """The choices every command has, and where its words go."""

    debug: bool = False
    as_json: bool = False
    wrote_json: bool = False
    shows_progress: bool = False

    def document(self, value: Any) -> None:
        """The command's one JSON document."""
        self.wrote_json = True
        _out(json_text(value, indent=2 if sys.stdout.isatty() else None) + "\n")

    def line(self, text: str = "") -> None:
        """A line for people, on standard output."""
        self.piece(text + "\n")

    def piece(self, text: str) -> None:
        """Text for people as it comes, on standard output, at once."""
        _out(safe_for_terminal(text) if sys.stdout.isatty() else text)

    def row(self, value: Any) -> None:
        """One line of JSONL, at once."""
        _out(json_text(value) + "\n")

    def note(self, text: str) -> None:
        """A line for people, on standard error."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def progress(self, phase: str, ratio: float | None) -> None:
        """How far a long command is; one changing line on a terminal, nothing elsewhere."""
        if sys.stderr.isatty():
            share = "" if ratio is None else f" {ratio:.0%}"
            sys.stderr.write(f"\r\x1b[K{phase}{share}")
            sys.stderr.flush()
            self.shows_progress = True

    def end_progress(self) -> None:
        """Take the progress line away."""
        if self.shows_progress:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.shows_progress = False

    def error(self, message: str, *, code: str) -> None:
        """The one line that says what went wrong."""
        self.note(f"orion: error: {' '.join(message.split())} [{code}]")


def _out(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosedError from error


def json_text(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON, letters as they are where standard output can show them."""
    shows_all = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    return json.dumps(value, ensure_ascii=not shows_all, indent=indent)


def safe_for_terminal(text: str) -> str:
    """`text` without the control characters by which a model could drive a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def table(rows: Iterable[Sequence[str]], *, indent: str = "") -> str:
    """Rows with their columns aligned."""
    cells = [list(row) for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
        .rstrip()
        for row in cells
    )  # fmt: skip

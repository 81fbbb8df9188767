"""One figure of reliability as a row, and rows as a table of text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADINGS = ("figure", "what", "goal", "measured", "met")
_WIDTHS = (6, 46, 34, 44, 3)


@dataclass(frozen=True, slots=True)
class Row:
    """One promise, what was asked of it and what came out.

    Attributes:
        figure: Its number, as in `G5`.
        what: The promise in a few words.
        goal: What must be reached, with its unit.
        measured: What this run gave, with its unit and, where there is one, the baseline.
        met: Whether the goal was reached.
        details: Everything else worth keeping (seed, counts, percentiles); JSON-ready.
    """

    figure: str
    what: str
    goal: str
    measured: str
    met: bool
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return {
            "figure": self.figure,
            "what": self.what,
            "goal": self.goal,
            "measured": self.measured,
            "met": self.met,
            "details": self.details,
        }


def table(rows: Sequence[Row]) -> str:
    """`rows` in columns of plain text, long cells wrapped; ends without a newline."""
    lines = [_line(_HEADINGS), _line(tuple("-" * width for width in _WIDTHS))]
    for row in rows:
        cells = (row.figure, row.what, row.goal, row.measured, "yes" if row.met else "NO")
        wrapped = [
            textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, _WIDTHS, strict=True)
        ]
        for number in range(max(map(len, wrapped))):
            parts = tuple(cell[number] if number < len(cell) else "" for cell in wrapped)
            lines.append(_line(parts))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)]
    return "  ".join(padded).rstrip()

"""Samples → medians, ratios and verdicts; a table for people, a document for programs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PLAIN_FROM = 100
_ONE_DIGIT_FROM = 10


class Compared(StrEnum):
    """What is made of a measured sample and the baseline's sample of the same round."""

    RATIO = "÷"
    DIFFERENCE = "-"
    ALONE = ""


class JudgedBy(StrEnum):
    """Which of the results has to meet the goal."""

    MEDIAN = "median"
    EVERY = "every"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The least, the middle and the largest of some samples."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """The spread of at least one sample.

        Raises:
            ValueError: There is none.
        """
        if not samples:
            msg = "no samples"
            raise ValueError(msg)
        return cls(low=min(samples), middle=median(samples), high=max(samples))

    def __str__(self) -> str:
        parts = [in_short(self.low), in_short(self.middle), in_short(self.high)]
        return parts[1] if len(set(parts)) == 1 else " … ".join(parts)

    def as_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"min": self.low, "median": self.middle, "max": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound that the result must not pass; `at_least` says on which side it lies."""

    bound: float
    at_least: bool = False

    def admits(self, value: float) -> bool:
        """Whether `value` meets it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table: what was measured, against what, and what was hoped for.

    `measured` and `baseline` hold one sample per round, in `unit`, in the same order:
    results are made round by round, so that a slow moment of the machine hits both sides.
    """

    scenario: str
    name: str
    unit: str
    measured: tuple[float, ...]
    baseline: tuple[float, ...] = ()
    baseline_name: str = ""
    compared: Compared = Compared.ALONE
    goal: Goal | None = None
    judged_by: JudgedBy = JudgedBy.MEDIAN
    note: str = ""

    @property
    def results(self) -> tuple[float, ...]:
        """One result per round: the ratio, the difference, or the sample itself.

        Raises:
            ValueError: The two sides have different numbers of rounds.
        """
        if self.compared is Compared.ALONE:
            return self.measured
        pairs = zip(self.measured, self.baseline, strict=True)
        if self.compared is Compared.RATIO:
            return tuple(ours / theirs for ours, theirs in pairs)
        return tuple(ours - theirs for ours, theirs in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        if self.judged_by is JudgedBy.EVERY:
            return all(self.goal.admits(result) for result in self.results)
        return self.goal.admits(median(self.results))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, every sample included."""
        return {
            "scenario": self.scenario,
            "figure": self.name,
            "unit": self.unit,
            "measured": {**Spread.of(self.measured).as_dict(), "samples": list(self.measured)},
            "baseline": {
                "name": self.baseline_name,
                **Spread.of(self.baseline).as_dict(),
                "samples": list(self.baseline),
            }
            if self.baseline
            else None,
            "compared": self.compared.name.lower(),
            "result": Spread.of(self.results).as_dict(),
            "goal": str(self.goal) if self.goal else None,
            "judged_by": str(self.judged_by),
            "met": self.met,
            "note": self.note,
        }


def in_short(value: float) -> str:
    """About three digits of a number."""
    size = abs(value)
    if size >= _PLAIN_FROM or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= _ONE_DIGIT_FROM else f"{value:.2f}"


_HEADS = ("figure", "measured", "baseline", "result", "goal", "verdict")


def table(figures: Iterable[Figure]) -> str:
    """The figures in columns; spreads are least … median … largest."""
    rows = [_HEADS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    measured = f"{Spread.of(figure.measured)} {figure.unit}".rstrip()
    baseline, result = "", ""
    if figure.baseline:
        baseline = f"{Spread.of(figure.baseline)} {figure.unit}, {figure.baseline_name}"
    if figure.compared is not Compared.ALONE:
        unit = figure.unit if figure.compared is Compared.DIFFERENCE else ""
        result = f"{figure.compared} {Spread.of(figure.results)} {unit}".rstrip()
    verdict = {True: "met", False: "missed", None: "shown"}[figure.met]
    goal = str(figure.goal) if figure.goal else ""
    if figure.goal and figure.judged_by is JudgedBy.EVERY:
        goal += " each time"
    return f"{figure.scenario}: {figure.name}", measured, baseline, result, goal, verdict


def notes(figures: Iterable[Figure]) -> str:
    """What has to be said beside the table, a line per figure that has something."""
    lines = [
        f"{figure.scenario}: {figure.name}: {figure.note}" for figure in figures if figure.note
    ]
    return "\n".join(lines)


def any_missed(figures: Iterable[Figure]) -> bool:
    """Whether some goal is not met."""
    return any(figure.met is False for figure in figures)

"""Waiting with a clock in hand, and the figures that come of many waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_LOOK_S = 0.005


def until(condition: Callable[[], bool], limit_s: float, *, since_s: float | None = None) -> float:
    """Seconds until `condition` came true, counted from `since_s` (default: now).

    `inf` when it did not come true in `limit_s` seconds from `since_s`.
    """
    begun_s = time.monotonic() if since_s is None else since_s
    while True:
        if condition():
            return time.monotonic() - begun_s
        if time.monotonic() - begun_s > limit_s:
            return float("inf")
        time.sleep(_LOOK_S)


def is_gone(pid: int) -> bool:
    """Whether no process of that id runs any more (a zombie does not)."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def all_gone(pids: Collection[int]) -> bool:
    """Whether none of them runs any more."""
    return all(is_gone(pid) for pid in pids)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that `percent` of all do not exceed; 0 for no samples."""
    if not samples:
        return 0.0
    ordered = sorted(samples)
    rank = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[int(rank)]


def worst(samples: Sequence[float]) -> float:
    """The largest; 0 for no samples."""
    return max(samples, default=0.0)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of `(x, y)` points; 0 for fewer than two."""
    if len(points) < 2:  # noqa: PLR2004 - a line needs two
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def seconds(value: float) -> str:
    """A time as text."""
    return "never" if value == float("inf") else f"{value:.2f} s"

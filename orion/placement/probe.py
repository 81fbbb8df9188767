"""How much memory may be taken now, asked as often as need be."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from orion.placement.limits import find_memory_groups
from orion.units import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

_ROW = re.compile(rb"^(MemAvailable|Mapped|Shmem):\s+(\d+) kB", re.MULTILINE)
_MEMINFO_BYTES = 4 * KIB


class MemoryProbe:
    """Reads what is free at each call; from any thread.

    The machine, the control groups of this process and what the container announces each set
    a limit; the tightest counts. Weights are mapped from their files: where the system would
    call mapped pages free, because it could read them again, they count as taken.

    Args:
        total_bytes: The most there is; None is not known.
        announced_bytes: A limit this process was told of, which no control group knows.
        root: Where `proc` and `sys` hang.
    """

    def __init__(
        self,
        *,
        total_bytes: int | None,
        announced_bytes: int | None = None,
        root: Path = Path("/"),
    ) -> None:
        self.total_bytes = total_bytes
        self._announced_bytes = announced_bytes
        self._meminfo = root / "proc/meminfo"
        self._groups = find_memory_groups(root)

    def free_bytes(self) -> int | None:
        """Bytes that may be taken without pushing anything out; None: not known."""
        sources: list[Callable[[], int | None]] = [
            self._machine_bytes,
            self._announced_room_bytes,
            *(group.room_bytes for group in self._groups),
        ]
        known = [room for source in sources if (room := source()) is not None]
        return max(0, min(known)) if known else None

    def _machine_bytes(self) -> int | None:
        try:
            with self._meminfo.open("rb") as file:
                head = file.read(_MEMINFO_BYTES)
        except OSError:
            return _available_elsewhere()
        rows = {row[1]: int(row[2]) * KIB for row in _ROW.finditer(head)}
        if b"MemAvailable" not in rows:
            return None
        mapped = rows.get(b"Mapped", 0) - rows.get(b"Shmem", 0)
        return rows[b"MemAvailable"] - max(0, mapped)

    def _announced_room_bytes(self) -> int | None:
        if self._announced_bytes is None:
            return None
        counted = [used for group in self._groups[:1] if (used := group.used_bytes()) is not None]
        return self._announced_bytes - (counted[0] if counted else _own_bytes())


def _available_elsewhere() -> int | None:
    """As another system than Linux tells it."""
    if Path("/proc/meminfo").exists():
        return None
    return int(psutil.virtual_memory().available)  # pragma: no cover - only without a /proc


def _own_bytes() -> int:
    """What this process and its children hold; slower, where no control group has counted."""
    me = psutil.Process()
    total = me.memory_info().rss
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            total += child.memory_info().rss
    return int(total)

"""Faults that the admin asked for, waiting for the next load or answer they concern."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.types import FaultKind


@dataclass(slots=True, kw_only=True)
class Fault:
    """Strikes the next `times` loads or answers of `target`.

    `target` is an agent id where `where` is "generate", and a model id where it is "load".
    """

    target: str
    where: str
    kind: FaultKind
    times: int


class Faults:
    """The faults that have not struck yet, oldest first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Have it strike."""
        with self._lock:
            self._faults.append(fault)

    def take(self, target: str, where: str) -> str:
        """The kind that strikes now, or ""."""
        with self._lock:
            for fault in self._faults:
                if fault.target == target and fault.where == where:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                    return str(fault.kind)
        return ""

    def pending(self) -> list[dict[str, Any]]:
        """Those still to strike, as plain values."""
        with self._lock:
            return [{**asdict(fault), "kind": str(fault.kind)} for fault in self._faults]

    def clear(self) -> int:
        """Forget them all; returns how many there were."""
        with self._lock:
            count = len(self._faults)
            self._faults.clear()
            return count

"""What the scheduler may cause, and by which limits it decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orion.errors import OrionError


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How many may wait, and in which order.

    `queue_max` requests beyond what can run; `queue_tokens` prompt tokens among those that
    wait; one client holds at most `client_share` of it all while others are here. Where models
    compete for a place, each gives up to `turn_max` answers in a row; past one that has waited
    for `patience_s`, it goes on only until it has had its own place for as long.
    """

    queue_max: int
    queue_tokens: int = 65_536
    client_share: float = 0.5
    turn_max: int = 16
    patience_s: float = 15.0


class Effects(Protocol):
    """Carries out what the scheduler decides. On the dispatcher thread, never re-entered."""

    def grant(self, request_id: str, model: str) -> None:
        """The request may run on the resident model now."""

    def may_grant(self, request_id: str, model: str) -> bool:
        """Whether it may run beside what runs on `model` now; those behind it wait with it."""

    def refuse(self, request_id: str, error: OrionError) -> None:
        """The request cannot have this model: full queue, no room, or a load that failed."""

    def start_load(self, model: str, *, speculative: bool) -> None:
        """Begin a load; answer later with `on_loaded` or `on_load_failed`."""

    def start_unload(self, model: str) -> None:
        """Begin to end the model's worker; answer later with `on_gone`."""

    def abort_load(self, model: str) -> None:
        """End the worker of a speculative load; answer later with `on_gone`."""

    def need_bytes(self, model: str) -> int:
        """What the model is expected to take; 0 is not known. Cheap."""

    def free_bytes(self) -> int | None:
        """What could be allocated now, measured at every call; None is not known."""

    def total_bytes(self) -> int | None:
        """What could be allocated if no model were here; None is not known."""

"""The model cache: what is resident, what it takes, and what goes to make room. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """Room for models: `places` of them at once, in `budget_bytes` (None: what is free)."""

    places: int
    default_slots: int
    budget_bytes: int | None = None
    reserve_bytes: int = 0
    keep_alive_s: float = -1.0
    pinned: frozenset[str] = frozenset()


@dataclass(slots=True)
class Resident:
    """A loaded model: how many answers it can give at once and how many it gives.

    `idle_since_s` is when its last answer ended; `turn` counts answers begun while others
    waited for its place. A `yielding` model takes no more and leaves once idle. `clients` are
    those its answers are for, with how many each.
    """

    slots: int
    num_bytes: int = 0
    loaded_s: float = 0.0
    leases: int = 0
    last_used: int = 0
    idle_since_s: float = 0.0
    keep_alive_s: float = -1.0
    turn: int = 0
    leaving: bool = False
    leave_when_idle: bool = False
    yielding: bool = False
    speculative: bool = False
    clients: dict[str, int] = field(default_factory=dict)

    @property
    def takes(self) -> bool:
        """Whether another answer may begin."""
        return self.leases < self.slots and not (
            self.leaving or self.leave_when_idle or self.yielding
        )


@dataclass(slots=True)
class Loading:
    """A load under way; a `speculative` one is given up for any other."""

    need_bytes: int
    since_s: float
    speculative: bool = False


@dataclass(slots=True)
class ModelCache:
    """Resident models, least recently used first out; never one that is in use or pinned.

    `aborted` are loads that were given up and whose process has not ended, with their bytes.
    """

    limits: CacheLimits
    resident: dict[str, Resident] = field(default_factory=dict)
    loading: dict[str, Loading] = field(default_factory=dict)
    aborted: dict[str, int] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    measured_bytes: dict[str, int] = field(default_factory=dict)
    _planned: dict[str, int] = field(default_factory=dict)
    _measured_at: dict[str, int] = field(default_factory=dict)
    capacity: int = 0
    num_leases: int = 0
    _tick: int = 0

    def __post_init__(self) -> None:
        self.pinned |= self.limits.pinned
        self._count_capacity()

    @property
    def num_taken(self) -> int:
        """Places that are taken, by models that come or go too."""
        return len(self.resident) + len(self.loading) + len(self.aborted)

    @property
    def has_place(self) -> bool:
        """Whether one more could be loaded, its size aside."""
        return self.num_taken < self.limits.places

    @property
    def is_leaving(self) -> bool:
        """Whether a place will be free soon."""
        return any(held.leaving for held in self.resident.values())

    def is_known(self, model: str) -> bool:
        """Whether it is resident, on its way, or still on its way out."""
        return model in self.resident or model in self.loading or model in self.aborted

    def need_bytes(self, model: str, planned_bytes: Callable[[str], int]) -> int:
        """What it takes: as measured before, else as planned; 0 is not known.

        What was measured says nothing of a smaller plan, as with fewer slots.
        """
        planned = self._planned[model] = planned_bytes(model)
        measured = self.measured_bytes.get(model, 0)
        is_smaller = 0 < planned < self._measured_at.get(model, 0)
        return measured if measured and not is_smaller else planned

    def is_too_large(self, need_bytes: int, total_bytes: int | None) -> bool:
        """Whether it would not fit even if nothing else were here."""
        most = self.most_bytes(total_bytes)
        return bool(need_bytes) and most is not None and need_bytes > most

    def most_bytes(self, total_bytes: int | None) -> int | None:
        """What one model could take on a machine with `total_bytes`; None is not known."""
        bounds = [] if total_bytes is None else [max(0, total_bytes - self.limits.reserve_bytes)]
        if self.limits.budget_bytes is not None:
            bounds.append(self.limits.budget_bytes)
        return min(bounds, default=None)

    def fits(self, need_bytes: int, free_bytes: Callable[[], int | None]) -> bool:
        """Whether so much more can be had now."""
        limits = self.limits
        if not need_bytes:
            return True
        coming = sum(load.need_bytes for load in self.loading.values())
        if limits.budget_bytes is not None:
            held = sum(model.num_bytes for model in self.resident.values())
            held += coming + sum(self.aborted.values())
            if held + need_bytes > limits.budget_bytes:
                return False
        free = free_bytes()
        return free is None or need_bytes + coming + limits.reserve_bytes <= free

    def begin(
        self, model: str, need_bytes: int, now_s: float, *, speculative: bool = False
    ) -> None:
        """A load begins."""
        self.loading[model] = Loading(need_bytes, now_s, speculative)
        self._count_capacity()

    def loaded(self, model: str, slots: int, num_bytes: int, now_s: float) -> Resident:
        """A load ended well; `num_bytes` is what it takes, measured (0: it could not be)."""
        load = self.loading.pop(model, None)
        if num_bytes:
            self.measured_bytes[model] = num_bytes
            self._measured_at[model] = self._planned.get(model, 0)
        held = Resident(
            slots=slots,
            num_bytes=num_bytes or (load.need_bytes if load else 0),
            loaded_s=now_s,
            idle_since_s=now_s,
            keep_alive_s=self.limits.keep_alive_s,
            speculative=bool(load and load.speculative),
        )
        self.resident[model] = held
        self._use(held)
        self._count_capacity()
        return held

    def measured(self, model: str, num_bytes: int) -> None:
        """It was found to take so much; what it once took it may take again."""
        held = self.resident.get(model)
        if held is not None and num_bytes > held.num_bytes:
            held.num_bytes = self.measured_bytes[model] = num_bytes

    def failed(self, model: str) -> None:
        """A load failed."""
        self.loading.pop(model, None)
        self._count_capacity()

    def abort(self, model: str) -> None:
        """A load is given up: its place is free once the process has gone."""
        self.aborted[model] = self.loading.pop(model).need_bytes
        self._count_capacity()

    def gone(self, model: str) -> Resident | None:
        """Its process has ended, and with it the answers it gave; returns what it was."""
        self.aborted.pop(model, None)
        held = self.resident.pop(model, None)
        if held is not None:
            self.num_leases -= held.leases
        self._count_capacity()
        return held

    def lease(self, held: Resident, keep_alive_s: float | None, client: str = "") -> None:
        """An answer begins."""
        held.leases += 1
        held.clients[client] = held.clients.get(client, 0) + 1
        self.num_leases += 1
        held.keep_alive_s = self.limits.keep_alive_s if keep_alive_s is None else keep_alive_s
        self._use(held)

    def release(self, model: str, now_s: float, client: str = "") -> Resident | None:
        """An answer ended; None where its worker has gone first."""
        held = self.resident.get(model)
        if held is None or client not in held.clients:
            return None
        held.clients[client] -= 1
        if not held.clients[client]:
            del held.clients[client]
        held.leases -= 1
        self.num_leases -= 1
        held.idle_since_s = now_s
        self._use(held)
        return held

    def victim(self) -> str | None:
        """The one to evict: idle, not pinned, least recently used."""
        idle = [
            (held.last_used, model)
            for model, held in self.resident.items()
            if held.leases == 0 and not held.leaving and model not in self.pinned
        ]
        return min(idle)[1] if idle else None

    def expired(self, now_s: float) -> list[str]:
        """Those that have been idle for as long as they were to be kept."""
        return [
            model
            for model, held in self.resident.items()
            if held.leases == 0
            and not held.leaving
            and held.keep_alive_s >= 0
            and now_s - held.idle_since_s >= held.keep_alive_s
            and model not in self.pinned
        ]

    @property
    def may_free(self) -> bool:
        """Whether room may come: something leaves, loads, or can be evicted one day."""
        return bool(self.aborted or self.loading) or any(
            held.leaving or held.leave_when_idle or model not in self.pinned
            for model, held in self.resident.items()
        )

    def _use(self, held: Resident) -> None:
        self._tick += 1
        held.last_used = self._tick

    def _count_capacity(self) -> None:
        free = max(0, self.limits.places - len(self.resident))
        slots = sum(held.slots for held in self.resident.values())
        self.capacity = slots + free * self.limits.default_slots

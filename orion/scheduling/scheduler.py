"""First come, first served, over models that share a few places.

A model in use is never evicted, eviction comes before the load that needs the place,
and two callers share one load. A request that needs an eviction holds back those
behind it, so a busy model cannot starve another one's waiters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from orion.errors import OrionError, OverloadedError


class Effects(Protocol):
    """What the scheduler may cause. Called on the dispatcher thread, never re-entered."""

    def grant(self, request_id: str, model: str) -> None:
        """The request may run on the resident model now."""

    def may_grant(self, request_id: str, model: str) -> bool:
        """Whether it may run beside what runs on `model` now; those behind it wait with it."""

    def refuse(self, request_id: str, error: OrionError) -> None:
        """The request cannot have this model: full queue, or a load that failed."""

    def start_load(self, model: str) -> None:
        """Begin a load; answer later with `on_loaded` or `on_load_failed`."""

    def start_unload(self, model: str) -> None:
        """Begin to end the model's worker; answer later with `on_gone`."""


@dataclass(slots=True)
class Resident:
    """A loaded model: how many answers it can give at once and how many it gives."""

    slots: int
    leases: int = 0
    last_used: int = 0
    leaving: bool = False
    leave_when_idle: bool = False


@dataclass(slots=True)
class Scheduler:
    """Owned by the dispatcher thread: every method runs there, so nothing is locked.

    `places` models may be resident at once; `default_slots` is assumed of a model that
    is not loaded yet; up to `queue_max` requests are admitted beyond what can run.
    """

    effects: Effects
    places: int
    queue_max: int
    default_slots: int
    service_s: float = 1.0
    resident: dict[str, Resident] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)
    resuming: dict[str, str] = field(default_factory=dict)
    unwanted: set[str] = field(default_factory=set)
    _tick: int = 0

    @property
    def capacity(self) -> int:
        """Answers that could run at once, were every place taken. From any thread."""
        held = [model.slots for model in list(self.resident.values())]
        free_places = max(0, self.places - len(held))
        return sum(held) + free_places * self.default_slots

    @property
    def running(self) -> int:
        """Answers under way. From any thread."""
        return sum(model.leases for model in list(self.resident.values()))

    def position(self, request_id: str) -> int | None:
        """Place in the queue, from 1; None when not waiting. From any thread."""
        for index, waiting in enumerate([*self.resuming, *self.waiting], start=1):
            if waiting == request_id:
                return index
        return None

    def waiting_for(self, model: str) -> list[str]:
        """Those that wait for `model`, in order."""
        return [request_id for request_id, wanted in self._queue().items() if wanted == model]

    def on_request(self, request_id: str, model: str) -> None:
        """Grant, join a load, wait, start a load, or refuse when the queue is full."""
        waiting = len(self.waiting) + len(self.resuming)
        if self.running + waiting >= self.capacity + self.queue_max:
            ahead = (waiting + 1) / max(1, self.capacity)
            retry_after_s = max(1.0, round(ahead * self.service_s, 1))
            self.effects.refuse(
                request_id, OverloadedError(queue_max=self.queue_max, retry_after_s=retry_after_s)
            )
            return
        self.waiting[request_id] = model
        self._advance()

    def on_resume(self, request_id: str, model: str) -> None:
        """An admitted request goes on with `model`: before all that wait, and never refused."""
        self.resuming[request_id] = model
        self._advance()

    def on_handover(self, request_id: str, old: str, new: str) -> None:
        """An answer on `old` ended and its request goes on with `new`, in the same slot."""
        self.resuming[request_id] = new
        self.on_release(old)

    def on_wanted(self, model: str) -> bool:
        """Load `model` unless somebody waits for the place. False: others hold every place."""
        if model in self.resident or model in self.loading:
            return True
        if len(self.resident) + len(self.loading) >= self.places:
            return False
        known = self.resident.keys() | self.loading | {model}
        if known.issuperset(self._queue().values()):  # nobody waits for the free place
            self._load(model)
        return True

    def on_leave(self, request_id: str) -> bool:
        """A waiting caller gives up; the load it waited for goes on. False: not waiting."""
        waited = self.waiting.pop(request_id, None) or self.resuming.pop(request_id, None)
        if waited is None:
            return False
        self._advance()
        return True

    def on_release(self, model: str) -> None:
        """An answer on `model` ended, however it ended."""
        held = self.resident.get(model)
        if held is None:  # its worker went first; whoever was handed over still goes on
            self._advance()
            return
        held.leases -= 1
        self._tick += 1
        held.last_used = self._tick
        if held.leave_when_idle and held.leases == 0 and not held.leaving:
            self._evict(model)
        self._advance()

    def on_loaded(self, model: str, slots: int) -> None:
        """A load ended well."""
        self.loading.discard(model)
        self._tick += 1
        self.resident[model] = Resident(slots=slots, last_used=self._tick)
        self._advance()
        if model in self.unwanted:  # asked to leave while it was loading
            self.unwanted.discard(model)
            self.ask_unload(model)

    def on_load_failed(self, model: str, error: OrionError) -> None:
        """A load failed: everyone who waited for it is told."""
        self.loading.discard(model)
        self.unwanted.discard(model)
        for request_id in self.waiting_for(model):
            self._forget(request_id)
            self.effects.refuse(request_id, error)
        self._advance()

    def on_doomed(self, model: str) -> None:
        """The model's worker is being killed: nobody new may run on it; `on_gone` follows."""
        if model in self.resident:
            self.resident[model].leaving = True

    def on_gone(self, model: str) -> None:
        """The model's worker ended: asked, evicted or died."""
        self.resident.pop(model, None)
        self._advance()

    def ask_unload(self, model: str) -> bool:
        """Let `model` go once nobody uses it. False: it is neither resident nor loading."""
        if model in self.loading:
            self.unwanted.add(model)
            return True
        held = self.resident.get(model)
        if held is None:
            return False
        held.leave_when_idle = True
        if held.leases == 0 and not held.leaving:
            self._evict(model)
        return True

    def _queue(self) -> dict[str, str]:
        return {**self.resuming, **self.waiting}

    def _forget(self, request_id: str) -> None:
        self.waiting.pop(request_id, None)
        self.resuming.pop(request_id, None)

    def _advance(self) -> None:
        closed: set[str] = set()
        for request_id, model in self._queue().items():
            held = self.resident.get(model)
            if held is not None:
                has_slot = not (held.leaving or held.leave_when_idle) and held.leases < held.slots
                if not has_slot or model in closed:
                    continue
                if not self.effects.may_grant(request_id, model):
                    closed.add(model)  # nobody overtakes one that waits to be let in
                else:
                    held.leases += 1
                    self._tick += 1
                    held.last_used = self._tick
                    self._forget(request_id)
                    self.effects.grant(request_id, model)
            elif model not in self.loading and not self._make_room_for(model):
                return

    def _make_room_for(self, model: str) -> bool:
        """Start the load, or the eviction it needs; False when it must wait."""
        if len(self.resident) + len(self.loading) < self.places:
            self._load(model)
            return True
        victim = self._victim()
        if victim is not None and not any(held.leaving for held in self.resident.values()):
            self._evict(victim)
        return False

    def _victim(self) -> str | None:
        idle = [
            (held.last_used, model)
            for model, held in self.resident.items()
            if held.leases == 0 and not held.leaving
        ]
        return min(idle)[1] if idle else None

    def _load(self, model: str) -> None:
        self.loading.add(model)
        self.effects.start_load(model)

    def _evict(self, model: str) -> None:
        self.resident[model].leaving = True
        self.effects.start_unload(model)

"""Effects that only remember."""

from __future__ import annotations

from typing import Any

from orion.clock import ManualClock
from orion.errors import OrionError
from orion.scheduling import CacheLimits, QueueLimits, Scheduler, Waiter

_OF_QUEUE = frozenset(QueueLimits.__dataclass_fields__)


class Recorder:
    """Effects that only remember. `shy` requests never run beside one another.

    `sizes` are what models are planned to take, `free` and `total` what the machine has.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.errors: dict[str, OrionError] = {}
        self.shy: set[str] = set()
        self.running: dict[str, set[str]] = {}
        self.sizes: dict[str, int] = {}
        self.free: int | None = None
        self.total: int | None = None
        self.looks_at_memory = 0

    def grant(self, request_id: str, model: str) -> None:
        self.calls.append(("grant", request_id, model))
        self.running.setdefault(model, set()).add(request_id)

    def may_grant(self, request_id: str, model: str) -> bool:
        return not (request_id in self.shy and self.shy & self.running.get(model, set()))

    def refuse(self, request_id: str, error: OrionError) -> None:
        self.calls.append(("refuse", request_id, error.code))
        self.errors[request_id] = error

    def start_load(self, model: str, *, speculative: bool) -> None:
        self.calls.append(("prefetch" if speculative else "load", model))

    def start_unload(self, model: str) -> None:
        self.calls.append(("unload", model))

    def abort_load(self, model: str) -> None:
        self.calls.append(("abort", model))

    def need_bytes(self, model: str) -> int:
        return self.sizes.get(model, 0)

    def free_bytes(self) -> int | None:
        self.looks_at_memory += 1
        return self.free

    def total_bytes(self) -> int | None:
        return self.total

    def take(self) -> list[tuple[str, ...]]:
        """What happened since the last look."""
        taken, self.calls = self.calls, []
        return taken

    def granted(self) -> list[str]:
        """Who was let in since the last look, in order."""
        return [call[1] for call in self.take() if call[0] == "grant"]


def make_scheduler(effects: Any, clock: ManualClock | None = None, **given: Any) -> Scheduler:
    """One place, two slots per model and room for two more, unless told otherwise."""
    queue = {"queue_max": 2} | {key: given.pop(key) for key in _OF_QUEUE & given.keys()}
    cache = {"places": 1, "default_slots": 2} | given
    return Scheduler(effects, QueueLimits(**queue), CacheLimits(**cache), clock or ManualClock())


def ask(scheduler: Scheduler, *names: str, model: str = "a", **given: Any) -> None:
    """Requests of these names come, one after the other."""
    for name in names:
        scheduler.on_request(Waiter(name, model, **given))


def resident(scheduler: Scheduler, effects: Recorder, *models: str, slots: int = 2) -> None:
    """Load each of `models` for a request that has come and gone."""
    for model in models:
        ask(scheduler, f"first-{model}", model=model)
        scheduler.on_loaded(model, slots, effects.sizes.get(model, 0))
        effects.running.get(model, set()).clear()
        scheduler.on_release(model)
    effects.take()

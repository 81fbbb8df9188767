"""Effects that only remember."""

from __future__ import annotations

from orion.errors import OrionError
from orion.scheduling import Scheduler


class Recorder:
    """Effects that only remember."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.errors: list[OrionError] = []
        self.shy: set[str] = set()
        self.running: dict[str, set[str]] = {}

    def grant(self, request_id: str, model: str) -> None:
        self.calls.append(("grant", request_id, model))
        self.running.setdefault(model, set()).add(request_id)

    def may_grant(self, request_id: str, model: str) -> bool:
        return not (request_id in self.shy and self.shy & self.running.get(model, set()))

    def refuse(self, request_id: str, error: OrionError) -> None:
        self.calls.append(("refuse", request_id, error.code))
        self.errors.append(error)

    def start_load(self, model: str) -> None:
        self.calls.append(("load", model))

    def start_unload(self, model: str) -> None:
        self.calls.append(("unload", model))

    def take(self) -> list[tuple[str, ...]]:
        """What happened since the last look."""
        taken, self.calls = self.calls, []
        return taken


def resident(scheduler: Scheduler, effects: Recorder, model: str, slots: int = 2) -> None:
    """Load `model` for a request that has come and gone."""
    scheduler.on_request(f"first-{model}", model)
    scheduler.on_loaded(model, slots)
    scheduler.on_release(model)
    effects.take()

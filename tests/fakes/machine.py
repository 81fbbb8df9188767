"""The scheduler's surroundings, with books of their own: every effect is checked when caused."""

from __future__ import annotations

from typing import Any

from orion.clock import ManualClock
from orion.errors import OrionError
from orion.scheduling import Waiter
from tests.fakes.effects import make_scheduler

SIZES = {"a": 2, "b": 3, "c": 4, "d": 6, "e": 0}
OF_THE_MODEL = {"load_failed", "model_too_large", "no_room"}


class Machine:
    """What runs, waits, loads and leaves, as its effects say; never asked of the scheduler."""

    def __init__(self, *, total: int | None, **given: Any) -> None:
        self.clock = ManualClock(100.0)
        self.places: int = given["places"]
        self.share: float = given["client_share"]
        self.default_slots: int = given["default_slots"]
        self.budget: int | None = given["budget_bytes"]
        self.total, self.taken_by_others = total, 0
        self.loading: dict[str, bool] = {}
        self.aborting: set[str] = set()
        self.leaving: set[str] = set()
        self.unwanted: set[str] = set()
        self.pinned: set[str] = set(given["pinned"])
        self.bytes: dict[str, int] = {}
        self.slots: dict[str, int] = {}
        self.leases: dict[str, list[str]] = {}
        self.lines: dict[str, list[str]] = {}
        self.requests: dict[str, Waiter] = {}
        self.outcome: dict[str, str] = {}
        self.refused: list[tuple[str, str]] = []
        self.shy: set[str] = set()
        self._served_first = ""
        self.scheduler = make_scheduler(self, self.clock, **given)

    # What it causes.

    def grant(self, request_id: str, model: str) -> None:
        assert self.outcome[request_id] == "waiting", "granted or refused before"
        assert model in self.leases, "granted on a model that is not resident"
        closed = self.leaving | (self.unwanted - {self._served_first})
        assert model not in closed, "granted on a model that leaves"
        assert not self.scheduler.resident[model].yielding, "granted on a model that yields"
        assert len(self.leases[model]) < self.slots[model], "granted without a slot"
        assert self.may_grant(request_id, model), "granted beside one it may not run beside"
        assert request_id == self.next(model), "overtook one that came before"
        self.outcome[request_id] = "granted"
        self.lines[model].remove(request_id)
        self.leases[model].append(request_id)

    def may_grant(self, request_id: str, model: str) -> bool:
        return request_id not in self.shy or not self.shy & set(self.leases[model])

    def refuse(self, request_id: str, error: OrionError) -> None:
        assert self.outcome[request_id] == "waiting", "granted or refused before"
        waiter = self.requests[request_id]
        assert error.code in OF_THE_MODEL or not waiter.resuming, "refused though admitted"
        self.lines[waiter.model].remove(request_id)
        self.outcome[request_id] = error.code
        self.refused.append((request_id, error.code))

    def start_load(self, model: str, *, speculative: bool) -> None:
        assert model not in self.alive, "loaded while its worker lives"
        need = self.scheduler.cache.need_bytes(model, self.need_bytes)
        assert self.budget is None or sum(self.bytes.values()) + need <= self.budget or not need
        assert len(self.alive) < self.places, "no place is free"
        busy = any(self.leases.values()) or any(self.lines.values()) or self.loading
        assert not (speculative and busy), "guessed while somebody asks"
        self.loading[model], self.bytes[model] = speculative, need

    def start_unload(self, model: str) -> None:
        assert not self.leases[model], "evicted while in use"
        assert model not in self.leaving, "evicted twice"
        assert model not in self.pinned or model in self.unwanted, "evicted though pinned"
        self.leaving.add(model)

    def abort_load(self, model: str) -> None:
        assert self.loading.pop(model), "gave up a load that was no guess"
        assert not self.lines.get(model), "gave up a load that somebody waits for"
        self.aborting.add(model)

    def need_bytes(self, model: str) -> int:
        return SIZES[model]

    def free_bytes(self) -> int | None:
        if self.total is None:
            return None
        return self.total - self.taken_by_others - sum(self.bytes.values())

    def total_bytes(self) -> int | None:
        return self.total

    # What happens to it.

    def enter(self, waiter: Waiter) -> None:
        """It waits, unless it is refused."""
        self.requests[waiter.request_id] = waiter
        self.outcome[waiter.request_id] = "waiting"
        self.lines.setdefault(waiter.model, []).append(waiter.request_id)

    def go_on(self, old: str, model: str) -> Waiter:
        """The request of an attempt that failed, for its next one."""
        waiter = Waiter(old, model, client=self.requests[old].client, resuming=True)
        self.enter(waiter)
        return waiter

    def end(self, model: str) -> str:
        """An answer ends; the scheduler has still to hear of it."""
        return self.leases[model].pop()

    def come(self, model: str, slots: int, num_bytes: int = 0) -> None:
        """A load ends well."""
        del self.loading[model]
        self.leases[model], self.slots[model] = [], slots
        self.bytes[model] = num_bytes or self.bytes[model]
        self._served_first = model  # also where it is to leave then
        self.scheduler.on_loaded(model, slots, num_bytes)
        self._served_first = ""

    def fail(self, model: str, error: OrionError) -> None:
        """A load fails."""
        del self.loading[model], self.bytes[model]
        self.unwanted.discard(model)
        self.scheduler.on_load_failed(model, error)

    def go(self, model: str) -> list[str]:
        """A process ends; returns the requests it ran."""
        lost = self.leases.pop(model, [])
        self.slots.pop(model, None)
        del self.bytes[model]
        for kind in (self.leaving, self.aborting, self.unwanted):
            kind.discard(model)
        self.scheduler.on_gone(model)
        return lost

    def settle(self) -> bool:
        """Let a moment pass in which all ends that can; True when nobody waits any more."""
        for model in [*self.leaving, *self.aborting]:
            self.go(model)
        for model in list(self.loading):
            self.come(model, 1)
        for model in list(self.leases):
            if self.leases[model] and model not in self.leaving:
                client = self.requests[self.end(model)].client
                self.scheduler.on_release(model, client)
        self.clock.advance(3.0)
        self.scheduler.on_look()
        return not any(self.lines.values())

    # What its books say.

    @property
    def alive(self) -> set[str]:
        """Models whose process lives."""
        return self.leases.keys() | self.loading.keys() | self.aborting

    @property
    def waiting(self) -> list[str]:
        """All that wait."""
        return [one for line in self.lines.values() for one in line]

    @property
    def capacity(self) -> int:
        free = self.places - len(self.leases)
        return sum(self.slots.values()) + free * self.default_slots

    def holds(self, client: str) -> tuple[int, int]:
        """Requests of a client that run and that wait."""
        running = [one for leases in self.leases.values() for one in leases]
        mine = {name for name, waiter in self.requests.items() if waiter.client == client}
        return len(mine.intersection(running)), len(mine.intersection(self.waiting))

    def next(self, model: str) -> str | None:
        """Whose turn it is: those that go on, then in order, but for clients over their share."""
        line = self.lines.get(model, [])
        resuming = [one for one in line if self.requests[one].resuming]
        share = max(1, int(self.slots[model] * self.share))
        clients = [self.requests[one].client for one in self.leases[model]]
        fair = [one for one in line if not self._is_over(self.requests[one].client, clients, share)]
        return next(iter([*resuming, *fair, *line]), None)

    @staticmethod
    def _is_over(client: str, running: list[str], share: int) -> bool:
        return bool(client) and running.count(client) >= share

"""A machine in simulated time: loads, ends of workers and answers take as long as told."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from orion.clock import ManualClock
from orion.errors import OrionError
from orion.scheduling import Waiter
from tests.fakes.effects import Recorder, make_scheduler

LOOK_EVERY_S = 0.5


class Simulation(Recorder):
    """A scheduler whose loads and answers end by themselves. No randomness of its own."""

    def __init__(
        self, *, slots: int = 1, load_s: float = 1.0, service_s: float = 1.0, **given: Any
    ) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.scheduler = make_scheduler(self, self.clock, default_slots=slots, **given)
        self.slots, self.load_s, self.service_s = slots, load_s, service_s
        self.began_s: dict[str, float] = {}
        self.came_s: dict[str, float] = {}
        self.heard: Callable[[str, OrionError], None] = lambda request_id, error: None
        self.held_max = 0
        self._waiters: dict[str, Waiter] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        """Have `event` happen `seconds` from now."""
        self._count += 1
        heappush(self._events, (self.clock.now() + seconds, self._count, event))

    def ask(self, name: str, model: str = "a", **given: Any) -> None:
        """A request comes now."""
        self.came_s[name] = self.clock.now()
        self._waiters[name] = Waiter(name, model, **given)
        self.scheduler.on_request(self._waiters[name])
        self._count_held()

    def run(self, until_s: float = float("inf")) -> None:
        """Let time pass until nothing more happens, or `until_s` is reached."""
        look_s = self.clock.now() + LOOK_EVERY_S
        while self._events and self.clock.now() < until_s:
            due_s, _, event = self._events[0]
            if look_s < due_s:
                self._pass_to(look_s)
                look_s += LOOK_EVERY_S
                self.scheduler.on_look()
            else:
                heappop(self._events)
                self._pass_to(due_s)
                event()
            self._count_held()

    def grant(self, request_id: str, model: str) -> None:
        super().grant(request_id, model)
        self.began_s[request_id] = self.clock.now()
        self.at(self.service_s, lambda: self._ended(request_id, model))

    def refuse(self, request_id: str, error: OrionError) -> None:
        super().refuse(request_id, error)
        self.at(0.0, lambda: self.heard(request_id, error))

    def start_load(self, model: str, *, speculative: bool) -> None:
        super().start_load(model, speculative=speculative)
        self.at(self.load_s, lambda: self.scheduler.on_loaded(model, self.slots))

    def start_unload(self, model: str) -> None:
        super().start_unload(model)
        self.at(0.1, lambda: self.scheduler.on_gone(model))

    @property
    def loads(self) -> list[str]:
        """The models that were loaded, in order."""
        return [call[1] for call in self.calls if call[0] == "load"]

    @property
    def order(self) -> list[str]:
        """Who was let in, in order."""
        return [call[1] for call in self.calls if call[0] == "grant"]

    def waited_s(self, name: str) -> float:
        return self.began_s[name] - self.came_s[name]

    def _ended(self, request_id: str, model: str) -> None:
        self.running[model].discard(request_id)
        client = self._waiters[request_id].client
        self.scheduler.on_release(model, client, seconds=self.service_s)

    def _pass_to(self, stamp_s: float) -> None:
        self.clock.advance(max(0.0, stamp_s - self.clock.now()))

    def _count_held(self) -> None:
        held = self.scheduler.running + self.scheduler.num_waiting
        self.held_max = max(self.held_max, held)

"""Who runs when: requests over models that share a few places.

A model in use is never evicted, eviction comes before the load that needs the place, and
callers share one load. Requests for one model run in the order they came, but no client gets
more than its share of the slots while others wait; `turns` keeps the order between models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orion.scheduling.door import Door
from orion.scheduling.line import Line, Waiter
from orion.scheduling.model_cache import ModelCache
from orion.scheduling.pace import Pace
from orion.scheduling.shares import Shares
from orion.scheduling.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.clock import Clock
    from orion.errors import OrionError
    from orion.scheduling.effects import Effects, QueueLimits
    from orion.scheduling.model_cache import CacheLimits, Loading, Resident


@dataclass(slots=True)
class Scheduler:
    """Owned by the dispatcher thread: every method runs there, so nothing is locked.

    Counts (`num_waiting`, `running`, `capacity`, and `peak`: the most that ran and waited at
    once) may be read from any thread.
    """

    effects: Effects
    limits: QueueLimits
    cache_limits: CacheLimits
    clock: Clock
    pace: Pace = field(default_factory=Pace)
    shares: Shares = field(default_factory=Shares)
    cache: ModelCache = field(init=False)
    door: Door = field(init=False)
    turns: Turns = field(init=False)
    lines: dict[str, Line] = field(default_factory=dict)
    unwanted: set[str] = field(default_factory=set)
    num_waiting: int = 0
    waiting_tokens: int = 0
    peak: int = 0
    _waiters: dict[str, Waiter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = ModelCache(self.cache_limits)
        self.door = Door(self)
        self.turns = Turns(self)

    @property
    def resident(self) -> dict[str, Resident]:
        """The loaded models."""
        return self.cache.resident

    @property
    def loading(self) -> dict[str, Loading]:
        """The loads under way."""
        return self.cache.loading

    @property
    def pending(self) -> dict[str, float]:
        """Models without a place that requests wait for, since when. From any thread."""
        return self.turns.pending

    @property
    def capacity(self) -> int:
        """Answers that could run at once, were every place taken. From any thread."""
        return self.cache.capacity

    @property
    def running(self) -> int:
        """Answers under way. From any thread."""
        return self.cache.num_leases

    def waiting_for(self, model: str) -> list[str]:
        """Those that wait for `model`, in order."""
        return [waiter.request_id for waiter in self.lines.get(model, ())]

    def waiting(self, *, resuming: bool) -> list[str]:
        """Those that wait: the ones that were admitted before, or the others."""
        found = [known for known in self._waiters.values() if known.resuming is resuming]
        return [waiter.request_id for waiter in found]

    def places(self) -> Iterator[tuple[str, int]]:
        """Each that waits, and its place among those for the same model, from 1."""
        for line in self.lines.values():
            for index, waiter in enumerate(line):
                yield waiter.request_id, index + 1

    # What comes to it.

    def on_request(self, waiter: Waiter) -> None:
        """Grant, join a load, wait, start a load, or refuse."""
        self.door.enter(waiter)

    def on_resume(self, waiter: Waiter) -> None:
        """An admitted request goes on: before all that wait, and never refused."""
        waiter.resuming = True
        self.enqueue(waiter)
        self.turns.hurry(waiter.model)
        self.decide(waiter.model)

    def on_handover(self, waiter: Waiter, old: str) -> None:
        """An answer on `old` ended and its request goes on elsewhere, in the same slot."""
        waiter.resuming = True
        self.enqueue(waiter)
        self.turns.hurry(waiter.model)
        self.on_release(old, waiter.client)
        self.decide(waiter.model)

    def on_wanted(self, model: str) -> bool:
        """Load `model` unless somebody waits for the place. False: others hold every place."""
        return self.turns.bring_back(model)

    def on_prefetch(self, model: str) -> bool:
        """Load `model` on the chance of being asked for it, while nobody asks for anything.

        Returns whether that is under way. It never takes the place of a model in use, and is
        given up as soon as a request needs its place or the machine.
        """
        return self.turns.guess(model)

    def on_leave(self, request_id: str) -> bool:
        """A waiting caller gives up; the load it waited for goes on. False: not waiting."""
        waiter = self._waiters.get(request_id)
        if waiter is None:
            return False
        self.forget(waiter)
        self.decide(waiter.model)
        return True

    def on_release(self, model: str, client: str = "", *, seconds: float | None = None) -> None:
        """An answer on `model` ended, however it ended; it held its slot for `seconds`."""
        if seconds is not None:
            self.pace.served(model, seconds)
        held = self.cache.release(model, self.clock.now(), client)
        if held is not None:
            self.shares.ended(client)
            self.serve(model)
            self.turns.let_go(model, held)
        self.turns.fill()

    def on_loaded(self, model: str, slots: int, num_bytes: int = 0) -> None:
        """A load ended well."""
        now_s = self.clock.now()
        load = self.cache.loading.get(model)
        if load is not None:
            self.pace.loaded(model, now_s - load.since_s)
        held = self.cache.loaded(model, slots, num_bytes, now_s)
        self.turns.changed()
        self.decide(model)
        if model in self.unwanted:  # asked to leave while it was loading
            self.unwanted.discard(model)
            held.leave_when_idle = True
            self.turns.let_go(model, held)

    def on_load_failed(self, model: str, error: OrionError) -> None:
        """A load failed: everyone who waited for it is told."""
        self.cache.failed(model)
        self.unwanted.discard(model)
        self.refuse_line(model, error)
        self.turns.changed(freed=True)
        self.turns.fill()

    def on_doomed(self, model: str) -> None:
        """The model's worker is being killed: nobody new may run on it; `on_gone` follows."""
        if model in self.resident:
            self.resident[model].leaving = True

    def on_gone(self, model: str) -> None:
        """The model's worker ended: asked, evicted, given up or died."""
        held = self.cache.gone(model)
        if held is not None:
            for client, count in held.clients.items():
                self.shares.ended(client, count)
        self.unwanted.discard(model)
        self.turns.gone(model)
        self.decide(model)
        self.turns.guess_again()

    def ask_unload(self, model: str) -> bool:
        """Let `model` go once nobody uses it. False: it is neither resident nor loading."""
        self.cache.pinned.discard(model)
        if model in self.cache.loading:
            self.unwanted.add(model)
            return True
        held = self.cache.resident.get(model)
        if held is None:
            return False
        held.leave_when_idle = True
        self.turns.let_go(model, held)
        return True

    def on_look(self) -> None:
        """Time has passed: models idle for long enough leave, and whoever starves gets a place."""
        self.turns.expire()
        if self.num_waiting:
            for model in list(self.lines):
                self.serve(model)
            self.turns.changed()
            self.turns.fill()

    # How it decides.

    def enqueue(self, waiter: Waiter) -> None:
        """Let it wait; what it waits for is decided next."""
        waiter.since_s = self.clock.now()
        self.lines.setdefault(waiter.model, Line()).add(waiter)
        self._waiters[waiter.request_id] = waiter
        self.shares.waits(waiter, self.door.share)
        self.num_waiting += 1
        self.waiting_tokens += waiter.tokens
        self.peak = max(self.peak, self.num_waiting + self.running)

    def decide(self, model: str) -> None:
        """Somebody waits for `model`."""
        self.serve(model)
        self.turns.fill()

    def forget(self, waiter: Waiter) -> None:
        """It waits no more."""
        line = self.lines[waiter.model]
        line.remove(waiter)
        if not line.size:
            del self.lines[waiter.model]
            self.turns.pending.pop(waiter.model, None)
        del self._waiters[waiter.request_id]
        self.shares.left(waiter)
        self.num_waiting -= 1
        self.waiting_tokens -= waiter.tokens

    def serve(self, model: str) -> None:
        """Grant what `model` has slots for; a model without a place becomes pending."""
        line = self.lines.get(model)
        if line is None:
            return
        held = self.cache.resident.get(model)
        if held is None:
            self.turns.want(model, line)
            return
        while held.takes:
            waiter = line.first(but=self.door.over_share(held))
            if waiter is None or not self.effects.may_grant(waiter.request_id, model):
                return  # nobody overtakes one that waits to be let in
            self._grant(waiter, held)

    def refuse_line(self, model: str, error: OrionError) -> None:
        """All that wait for `model` hear why they cannot have it."""
        for waiter in list(self.lines.get(model, ())):
            self.forget(waiter)
            self.effects.refuse(waiter.request_id, error)

    def _grant(self, waiter: Waiter, held: Resident) -> None:
        self.forget(waiter)
        self.cache.lease(held, waiter.keep_alive_s, waiter.client)
        self.shares.runs(waiter.client)
        held.turn = held.turn + 1 if self.turns.pending else 0
        self.effects.grant(waiter.request_id, waiter.model)
        held.speculative = False

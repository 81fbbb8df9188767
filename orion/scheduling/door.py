"""The door: who may wait, and when it is worth coming back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orion.errors import BacklogError, OverloadedError, TooLateError, TooManyRequestsError
from orion.scheduling.pace import Promises

if TYPE_CHECKING:
    from orion.errors import OrionError
    from orion.scheduling.line import Waiter
    from orion.scheduling.model_cache import Resident
    from orion.scheduling.scheduler import Scheduler

_ROUND_TRIP_S = 0.2
_AHEAD_KEPT_S = 0.05


class _TurnsAhead(NamedTuple):
    """Seconds of others' turns before that of each model, and of all; reckoned at `at_s`."""

    of: dict[str, float]
    all_s: float
    at_s: float


class Door:
    """Admits or refuses. Dispatcher thread, but for `refusal` and `retry_after_s`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._promises = Promises()
        self._ahead = _TurnsAhead({}, 0.0, float("-inf"))

    @property
    def room(self) -> int:
        """Requests that may be here at once, running and waiting."""
        return self._scheduler.capacity + self._scheduler.limits.queue_max

    @property
    def share(self) -> int:
        """What one client may hold of it while others are here."""
        return max(1, int(self.room * self._scheduler.limits.client_share))

    def over_share(self, held: Resident) -> set[str]:
        """Clients that have their share of a model's answers already: others go first."""
        share = max(1, int(held.slots * self._scheduler.limits.client_share))
        return {client for client, count in held.clients.items() if client and count >= share}

    def refusal(self, client: str) -> OrionError | None:
        """What a newcomer would hear if it came now. From any thread; a moment old."""
        scheduler = self._scheduler
        held, total = scheduler.shares.held(client), scheduler.running + scheduler.num_waiting
        if client and held >= self.share and total > held:
            retry_s = self.retry_after_s(client)
            return TooManyRequestsError(held=held, retry_after_s=retry_s)
        if total >= self.room and scheduler.shares.hog(self.share) in {"", client}:
            return OverloadedError(
                queue_max=scheduler.limits.queue_max, retry_after_s=self.retry_after_s()
            )
        return None

    def enter(self, waiter: Waiter) -> None:
        """Admit a request, in place of a hog's newest where the system is full, or refuse it."""
        scheduler = self._scheduler
        error = self.refusal(waiter.client) or self._unlikely(waiter)
        if error is None and scheduler.running + scheduler.num_waiting >= self.room:
            error = self._displace()
        if error is not None:
            scheduler.effects.refuse(waiter.request_id, error)
            return
        scheduler.enqueue(waiter)
        scheduler.decide(waiter.model)

    def _displace(self) -> OrionError | None:
        """Send away the newest of the client that holds more than its share."""
        scheduler = self._scheduler
        hog = scheduler.shares.hog(self.share)
        newest = scheduler.shares.newest_of(hog)
        if newest is None:
            return OverloadedError(
                queue_max=scheduler.limits.queue_max, retry_after_s=self.retry_after_s()
            )
        error = TooManyRequestsError(
            held=scheduler.shares.held(hog), retry_after_s=self.retry_after_s(hog)
        )
        scheduler.forget(newest)
        scheduler.effects.refuse(newest.request_id, error)
        return None

    def _unlikely(self, waiter: Waiter) -> OrionError | None:
        """Whether it would wait behind too much to read, or past its deadline."""
        scheduler = self._scheduler
        model, line = waiter.model, scheduler.lines.get(waiter.model)
        held = scheduler.resident.get(model)
        if held is not None and held.takes and line is None:
            return None
        limit = scheduler.limits.queue_tokens
        if scheduler.num_waiting and scheduler.waiting_tokens + waiter.tokens > limit:
            return BacklogError(queue_tokens=limit, retry_after_s=self.retry_after_s())
        left_s = waiter.deadline_s - scheduler.clock.now()
        if not scheduler.pace.is_known(model):
            return None
        wait_s = self.wait_s(model, line.size if line else 0)
        if wait_s <= left_s:
            return None
        return TooLateError(
            wait_s=wait_s, limit_s=max(0.0, left_s), retry_after_s=self.retry_after_s()
        )

    def retry_after_s(self, client: str = "") -> float:
        """Seconds until one who was refused will find a place. From any thread."""
        scheduler = self._scheduler
        each_s = scheduler.pace.service_s() / max(1, scheduler.capacity)
        # Whoever is told the same whole second comes at once: no more of them than may wait.
        every_s = max(each_s, 1.0 / max(1, scheduler.limits.queue_max))
        share = scheduler.limits.client_share if client else 1.0
        drained_s = each_s * (scheduler.limits.queue_max // 2 + 1)
        return self._promises.next(
            client,
            now_s=scheduler.clock.now(),
            first_s=drained_s + _ROUND_TRIP_S,
            every_s=every_s / share,
        )

    def wait_s(self, model: str, index: int) -> float:
        """Seconds until the one at `index` (from 0) of a model's line runs, estimated.

        From any thread.
        """
        scheduler, pace = self._scheduler, self._scheduler.pace
        held, service_s = scheduler.resident.get(model), pace.service_s(model)
        if held is not None and not held.leaving:
            ahead = index + 1 - (held.slots - held.leases)
            return max(0, ahead) * service_s / held.slots
        slots = scheduler.cache_limits.default_slots
        own_s = pace.load_s(model) + index // slots * service_s
        load = scheduler.loading.get(model)
        if load is not None:
            passed_s = scheduler.clock.now() - load.since_s
            return max(0.0, own_s - min(passed_s, pace.load_s(model)))
        busy = scheduler.running and not scheduler.cache.has_place
        turns = self._turns_ahead()
        return (pace.service_s() if busy else 0.0) + turns.of.get(model, turns.all_s) + own_s

    def _turns_ahead(self) -> _TurnsAhead:
        """What is before each model that waits for a place; up to a twentieth of a second old.

        Every request asks for it, and with many models it takes longer than all the rest.
        """
        scheduler, pace, now_s = self._scheduler, self._scheduler.pace, self._scheduler.clock.now()
        pending, known = list(scheduler.pending), self._ahead
        if len(pending) == len(known.of) and now_s - known.at_s < _AHEAD_KEPT_S:
            return known
        slots, before_s = scheduler.cache_limits.default_slots, 0.0
        of = {}
        for model in pending:
            of[model] = before_s
            line = scheduler.lines.get(model)
            rounds = -(-line.size // slots) if line else 0
            before_s += pace.load_s(model) + rounds * pace.service_s(model)
        self._ahead = _TurnsAhead(of, before_s, now_s)
        return self._ahead

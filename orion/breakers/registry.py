"""All breakers of one engine: one per name, with one set of listeners."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from orion.breakers.breaker import Breaker
from orion.breakers.delivery import CLOSE_S, Delivery
from orion.breakers.state import BreakerEvent, BreakerMode, BreakerState, EventKind
from orion.clock import MonotonicClock
from orion.errors import BreakerConfigError

if TYPE_CHECKING:
    from random import Random

    from orion.breakers.breaker import Listener
    from orion.breakers.config import BreakerConfig
    from orion.clock import Clock
    from orion.logs import Log

_WORSE = {EventKind.OPENED, EventKind.FORCED_OPEN, EventKind.THRESHOLD}


class Breakers:
    """Finds or makes the breaker of a name. Every method may be called from any thread.

    Args:
        clock: Handed to every breaker.
        log: Told of every event; and once of each listener that misbehaves.
        random: Draws the jitter of all; else each draws its own.
        enabled: False: every breaker is made disabled, and a reset leaves it so.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        log: Log | None = None,
        random: Random | None = None,
        enabled: bool = True,
    ) -> None:
        self._clock = clock or MonotonicClock()
        self._log = log
        self._random = random
        self._mode = BreakerMode.NORMAL if enabled else BreakerMode.DISABLED
        self._lock = threading.Lock()
        self._breakers: dict[str, Breaker] = {}
        self._listeners: list[tuple[Listener, Delivery]] = []
        if log is not None:
            self.subscribe(partial(_write, log))

    def get(self, name: str, config: BreakerConfig | None = None) -> Breaker:
        """The breaker of that name, made where rules are given and there is none.

        Raises:
            BreakerConfigError: It exists with other rules, which `Breaker.reconfigure` changes;
                or there is none, and no rules were given.
        """
        with self._lock:
            breaker = self._breakers.get(name)
            if breaker is None:
                if config is None:
                    raise BreakerConfigError(field=name, reason="does not exist")
                breaker = self._breakers[name] = Breaker(
                    name,
                    config,
                    clock=self._clock,
                    random=self._random,
                    log=self._log,
                    mode=self._mode,
                )
                for listener, delivery in self._listeners:
                    breaker.attach(listener, delivery)
        if config is not None and breaker.config != config:
            raise BreakerConfigError(field=name, reason="exists with another configuration")
        return breaker

    def find(self, name: str) -> Breaker | None:
        """The breaker of that name, by whatever rules; None where there is none."""
        with self._lock:
            return self._breakers.get(name)

    def discard(self, name: str) -> bool:
        """Forget the breaker of a name unless a call is under way; whether it was forgotten."""
        with self._lock:
            breaker = self._breakers.get(name)
            if breaker is None or breaker.snapshot()["in_flight"]:
                return False
            del self._breakers[name]
            return True

    def names(self) -> list[str]:
        """The names there are, sorted."""
        with self._lock:
            return sorted(self._breakers)

    def snapshot(self) -> list[dict[str, Any]]:
        """Every breaker as plain data, by name."""
        return [breaker.snapshot() for breaker in self._all()]

    def health(self) -> dict[str, list[str]]:
        """Names by health.

        `down`: open for some time yet, or forced open. `degraded`: open with its break over,
        half-open, or failures are counted against it. `healthy`: the others, disabled ones too.
        """
        found: dict[str, list[str]] = {"healthy": [], "degraded": [], "down": []}
        for seen in self.snapshot():
            found[_health(seen)].append(seen["name"])
        return found

    def reset(self, name: str | None = None) -> list[str]:
        """Reset one or all; the names that were reset, none where there is no such name."""
        breakers = [breaker for breaker in self._all() if name in {None, breaker.name}]
        for breaker in breakers:
            breaker.reset()
        return [breaker.name for breaker in breakers]

    def subscribe(self, listener: Listener) -> None:
        """Have `listener` told of every event of every breaker, present and to come."""
        delivery = Delivery(clock=self._clock, log=self._log)
        with self._lock:
            self._listeners.append((listener, delivery))
            for breaker in self._breakers.values():
                breaker.attach(listener, delivery)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the listeners have heard what happened so far; whether they did, in time."""
        return all(delivery.flush(timeout_s) for _, delivery in self._listeners)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """End the threads of the listeners."""
        for _, delivery in self._listeners:
            delivery.close(timeout_s)

    def _all(self) -> list[Breaker]:
        with self._lock:
            return [self._breakers[name] for name in sorted(self._breakers)]


def _write(log: Log, event: BreakerEvent) -> None:
    write = log.warning if event.kind in _WORSE else log.info
    write(
        "breaker.changed",
        breaker=event.name,
        event_kind=event.kind.value,
        old=event.old.value,
        new=event.new.value,
        mode=event.mode.value,
        reason=event.reason and event.reason.value,
        cause=event.error and event.error.code,
        break_s=event.break_s and round(event.break_s, 3),
    )


def _health(seen: dict[str, Any]) -> str:
    if seen["state"] == BreakerState.OPEN and seen["retry_after_s"] != 0:
        return "down"
    if seen["state"] != BreakerState.CLOSED or seen["failures"] or seen["consecutive"]:
        return "degraded"
    return "healthy"

"""A breaker on a clock moved by hand, and ears that hear what it tells."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

from orion.breakers import Breaker, BreakerConfig, BreakerEvent, Breakers, BreakerState
from orion.clock import ManualClock
from orion.errors import CircuitOpenError, OutOfMemoryError
from orion.logs import Log

NEVER = 10**9
BOOM = OutOfMemoryError(reason="no memory left")
FLUSH_S = 8.0


class Recorder:
    """Stands in for a log; keeps (level, event, facts)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **facts: Any) -> None:
        self.lines.append(("info", event, facts))

    def warning(self, event: str, **facts: Any) -> None:
        self.lines.append(("warning", event, facts))


class Bench:
    """One breaker with everything around it.

    The rules are quiet unless asked for: no jitter, a break of 30 s, and only three failures
    in a row open it.
    """

    def __init__(self, **rules: Any) -> None:
        self.clock = ManualClock(1000.0)
        self.log = Recorder()
        self.config = config(**rules)
        self.breaker = Breaker(
            "generate:code-agent",
            self.config,
            clock=self.clock,
            random=Random(7),
            log=cast("Log", self.log),
        )
        self._heard: list[BreakerEvent] = []
        self.breaker.subscribe(self._heard.append)

    @property
    def state(self) -> BreakerState:
        return self.breaker.state

    def heard(self) -> list[BreakerEvent]:
        """Every event so far, in order."""
        assert self.breaker.flush(FLUSH_S)
        return list(self._heard)

    def kinds(self) -> list[str]:
        """What the events so far were."""
        return [event.kind.value for event in self.heard()]

    def see(self, key: str) -> Any:
        """One number of the snapshot."""
        return self.breaker.snapshot()[key]

    def succeed(self, times: int = 1, **times_s: float) -> None:
        for _ in range(times):
            self.breaker.acquire().success(**times_s)

    def fail(self, times: int = 1, **given: Any) -> None:
        for _ in range(times):
            self.breaker.acquire().failure(BOOM, **given)

    def refused(self) -> CircuitOpenError:
        """The error of a call that must be refused."""
        try:
            self.breaker.acquire()
        except CircuitOpenError as error:
            return error
        raise AssertionError("a call was let through")

    def trip(self) -> None:
        """Open it, by failures in a row."""
        self.fail(self.breaker.config.failures)
        assert self.state is BreakerState.OPEN

    def end_break(self) -> None:
        """Move to the end of the break."""
        self.clock.advance(self.breaker.retry_after_s)

    def close(self) -> None:
        self.breaker.close()


MakeBench = Callable[..., Bench]


def config(**rules: Any) -> BreakerConfig:
    """The quiet rules, with `rules` over them."""
    quiet = {"jitter": 0.0, "minimum_calls": NEVER, "trial_s": 90.0}
    return BreakerConfig(**{**quiet, **rules})


def by_rate(**rules: Any) -> dict[str, Any]:
    """Rules under which only the rate of failures can open it."""
    return {"failures": NEVER, "minimum_calls": 10, "failure_rate": 0.5, "slow_rate": 1.0, **rules}


def make_breakers(**given: Any) -> Breakers:
    """A registry on a clock moved by hand."""
    return Breakers(clock=ManualClock(1000.0), random=Random(7), **given)


def balance(snapshot: dict[str, Any]) -> int:
    """Admitted calls less those accounted for: 0 at every instant."""
    accounted = ("successes", "failures_total", "ignored", "in_flight")
    return snapshot["admitted"] - sum(snapshot[key] for key in accounted)

"""What a walk needs around it, wired once by `orion.build`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orion.breakers import Breakers
    from orion.clock import Clock
    from orion.dispatcher import BreakerFor, Dispatcher
    from orion.guardrails import Limits
    from orion.logs import Log
    from orion.metrics import Metrics
    from orion.registry import Registry
    from orion.routing import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts, the two intervals a stream keeps, and the longest a request may take."""

    registry: Registry
    router: Router
    breakers: Breakers
    breaker_for: BreakerFor
    dispatcher: Dispatcher
    metrics: Metrics
    log: Log
    clock: Clock
    limits: Limits
    interval_s: float
    heartbeat_s: float
    request_s: float

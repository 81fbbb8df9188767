"""What a walk needs around it, wired once by `orion.build`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orion.answer_cache import AnswerCache
    from orion.breakers import Breakers
    from orion.clock import Clock
    from orion.dispatcher import BreakerFor, Dispatcher
    from orion.guardrails import Limits
    from orion.logs import Log
    from orion.metrics import Metrics
    from orion.preload import Preloader
    from orion.registry import Registry, RegistryRef
    from orion.routing import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts, the two intervals a stream keeps, and the longest a request may take."""

    registries: RegistryRef
    router: Router
    breakers: Breakers
    breaker_for: BreakerFor
    dispatcher: Dispatcher
    answer_cache: AnswerCache
    preloader: Preloader
    metrics: Metrics
    log: Log
    clock: Clock
    limits: Limits
    interval_s: float
    heartbeat_s: float
    request_s: float

    @property
    def registry(self) -> Registry:
        """The registry in force: a request reads it once and keeps it to its end."""
        return self.registries.current

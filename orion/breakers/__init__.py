"""Circuit breakers: what keeps failing is paused, tried once, and let back."""

from orion.breakers.breaker import Breaker
from orion.breakers.config import BreakerConfig
from orion.breakers.permit import Permit
from orion.breakers.registry import Breakers
from orion.breakers.state import (
    BreakerEvent,
    BreakerMode,
    BreakerState,
    ErrorNote,
    EventKind,
    OpenReason,
)

__all__ = [
    "Breaker",
    "BreakerConfig",
    "BreakerEvent",
    "BreakerMode",
    "BreakerState",
    "Breakers",
    "ErrorNote",
    "EventKind",
    "OpenReason",
    "Permit",
]

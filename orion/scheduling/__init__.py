"""Who runs when: pure decisions, carried out by whoever implements `Effects`."""

from orion.scheduling.effects import Effects, QueueLimits
from orion.scheduling.line import Waiter
from orion.scheduling.model_cache import CacheLimits, ModelCache, Resident
from orion.scheduling.pace import Pace, Promises
from orion.scheduling.scheduler import Scheduler

__all__ = [
    "CacheLimits",
    "Effects",
    "ModelCache",
    "Pace",
    "Promises",
    "QueueLimits",
    "Resident",
    "Scheduler",
    "Waiter",
]

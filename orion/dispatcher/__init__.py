"""The one thread that owns scheduling state, and what it says to those who wait."""

from orion.dispatcher.dispatcher import Dispatcher
from orion.dispatcher.faults import Fault
from orion.dispatcher.floor import LoadPlan, WorkerRecord, WorkerState
from orion.dispatcher.limits import BreakerFor, DispatcherLimits, Observer
from orion.dispatcher.ticket import Attempt, Ended, FellBack, Granted, Loading, Queued, Ticket

__all__ = [
    "Attempt",
    "BreakerFor",
    "Dispatcher",
    "DispatcherLimits",
    "Ended",
    "Fault",
    "FellBack",
    "Granted",
    "LoadPlan",
    "Loading",
    "Observer",
    "Queued",
    "Ticket",
    "WorkerRecord",
    "WorkerState",
]

"""The one thread that owns scheduling state, and what it says to those who wait."""

from orion.dispatcher.desk import BreakerFor, DispatcherLimits
from orion.dispatcher.dispatcher import Dispatcher
from orion.dispatcher.faults import Fault
from orion.dispatcher.floor import LoadPlan, WorkerRecord, WorkerState
from orion.dispatcher.ticket import Attempt, Ended, FellBack, Granted, Loading, Ticket

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
    "Ticket",
    "WorkerRecord",
    "WorkerState",
]

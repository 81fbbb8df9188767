"""The one thread that owns scheduling state, and what it says to those who wait."""

from orion.dispatcher.desk import DispatcherLimits
from orion.dispatcher.dispatcher import Dispatcher
from orion.dispatcher.floor import LoadPlan, WorkerRecord, WorkerState
from orion.dispatcher.ticket import Ended, Granted, Loading, Ticket

__all__ = [
    "Dispatcher",
    "DispatcherLimits",
    "Ended",
    "Granted",
    "LoadPlan",
    "Loading",
    "Ticket",
    "WorkerRecord",
    "WorkerState",
]

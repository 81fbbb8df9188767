"""Who runs when: pure decisions, carried out by whoever implements `Effects`."""

from orion.scheduling.scheduler import Effects, Resident, Scheduler

__all__ = ["Effects", "Resident", "Scheduler"]

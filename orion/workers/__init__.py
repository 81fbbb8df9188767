"""Workers as the parent sees them: started, spoken to, watched, ended."""

from orion.workers.base import OnExit, OnFrame, Worker
from orion.workers.inprocess import InProcessWorker
from orion.workers.pulse import Pulse, read_pulse
from orion.workers.spawned import SpawnedWorker

__all__ = [
    "InProcessWorker",
    "OnExit",
    "OnFrame",
    "Pulse",
    "SpawnedWorker",
    "Worker",
    "read_pulse",
]

"""What the engine says of itself, as plain values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.clock import Clock
    from orion.dispatcher import Dispatcher, WorkerRecord
    from orion.metrics import Metrics
    from orion.registry import Registry


class Report:
    """Reads the parts; changes nothing."""

    def __init__(
        self,
        *,
        registry: Registry,
        dispatcher: Dispatcher,
        metrics: Metrics,
        clock: Clock,
        profile: str,
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._clock = clock
        self._profile = profile
        self._began_s = clock.now()
        for key in ("running", "waiting", "capacity"):
            metrics.gauge(f"orion_requests_{key}", f"Requests: {key}.", partial(self._count, key))
        metrics.gauge("orion_workers_rss_bytes", "Memory of all workers.", self._rss_bytes)

    @property
    def ever_loaded(self) -> bool:
        """Whether any load ended well since the start."""
        return self._dispatcher.loads_finished > 0

    def agents(self) -> list[dict[str, Any]]:
        """Every agent with its model and examples."""
        return [
            {
                "id": agent_id,
                "name": agent.name.model_dump(),
                "description": agent.description.model_dump(),
                "model": agent.model,
                "capabilities": list(agent.capabilities),
                "fallback": list(agent.fallback),
                "examples": agent.examples.model_dump(mode="json"),
            }
            for agent_id, agent in self._registry.agents.items()
        ]

    def stats(self, *, in_flight: int, by_state: dict[str, int]) -> dict[str, Any]:
        """Workers, queue and requests."""
        counts = self._dispatcher.counts()
        error = self._dispatcher.last_load_error
        return {
            "uptime_s": round(self._clock.now() - self._began_s, 3),
            "profile": self._profile,
            "workers": [_worker(record) for record in self._dispatcher.records()],
            "queue": {"waiting": counts["waiting"], "max": counts["max"]},
            "requests": {
                "in_flight": in_flight,
                "by_state": by_state,
                "running": counts["running"],
                "capacity": counts["capacity"],
            },
            "last_load_error": None
            if error is None
            else {"code": error.code, "message": error.public_message},
        }

    def _count(self, key: str) -> float:
        return float(self._dispatcher.counts()[key])

    def _rss_bytes(self) -> float:
        beats = (record.worker.heartbeat for record in self._dispatcher.records())
        return float(sum(beat.rss_bytes for beat in beats if beat))


def _worker(record: WorkerRecord) -> dict[str, Any]:
    beat, loaded, plan = record.worker.heartbeat, record.loaded, record.plan
    return {
        "id": record.worker.id,
        "pid": record.worker.pid,
        "state": str(record.state),
        "model": plan.model if plan else None,
        "variant": plan.variant if plan else None,
        "runtime": plan.runtime if plan else None,
        "slots": loaded.slots if loaded else None,
        "context_tokens": loaded.context_tokens if loaded else None,
        "load_s": round(loaded.seconds, 3) if loaded else None,
        "rss_bytes": beat.rss_bytes if beat else None,
        "num_tokens": beat.num_tokens if beat else 0,
        "active": len(record.jobs),
        "details": dict(loaded.details) if loaded else {},
    }

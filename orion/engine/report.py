"""What the engine says of itself, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.dispatcher import WorkerState
from orion.engine.gauges import Gauges
from orion.registry import CONVERSATION_AGENT

if TYPE_CHECKING:
    from orion.dispatcher import WorkerRecord
    from orion.engine.reload import Reloader
    from orion.engine.services import Services


_SILENT_S = 1.0
_ILL = "the process of {model} is lost or silent; it is being started again"


class Report:
    """Reads the parts; changes nothing."""

    def __init__(
        self, services: Services, reloader: Reloader, *, profile: str, heartbeat_s: float
    ) -> None:
        self._services = services
        self._reloader = reloader
        self._dispatcher = services.dispatcher
        self._breakers = services.breakers
        self._heartbeat_s = heartbeat_s
        self._clock = services.clock
        self._profile = profile
        self._began_s = services.clock.now()
        gauges = Gauges(services, reloader)
        gauges.publish(services.metrics)

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
            for agent_id, agent in self._services.registry.agents.items()
        ]

    def stats(self, *, in_flight: int, by_state: dict[str, int]) -> dict[str, Any]:
        """Workers, queue and requests."""
        counts = self._dispatcher.counts()
        error, tally = self._dispatcher.last_load_error, self._dispatcher.tally
        now_s = self._clock.now()
        return {
            "uptime_s": round(self._clock.now() - self._began_s, 3),
            "profile": self._profile,
            "workers": [
                _worker(record, now_s, tally.restarts) for record in self._dispatcher.records()
            ],
            "models": self._dispatcher.models(),
            "queue": self._dispatcher.queue(),
            "requests": {
                "in_flight": in_flight,
                "by_state": by_state,
                "running": counts["running"],
                "capacity": counts["capacity"],
                "peak": counts["peak"],
            },
            "last_load_error": None
            if error is None
            else {"code": error.code, "message": error.public_message},
            "deaths": tally.deaths,
            "fallbacks": tally.fallbacks,
            "quarantined": self._dispatcher.quarantined,
            "registry": self._reloader.stats(),
            "answer_cache": self._services.answer_cache.stats(),
            "preload": self._services.preloader.stats(),
            "breakers": self._breakers.snapshot(),
        }

    def health(self, *, closed: bool, expects_preload: bool) -> dict[str, Any]:
        """Whether a question would be answered now. Reads what is known; never waits.

        Only the models that agents use count: asking for another one, which may not be
        here, says nothing about the engine.
        """
        dispatcher = self._dispatcher
        registry = self._services.registry
        used = registry.used_models
        main = registry.agent(CONVERSATION_AGENT).model
        answering, silent = self._sorted_workers()
        errors = dispatcher.load_errors
        failed = used & errors.keys()
        ill = used & (silent | dispatcher.missing)
        breakers = self._breakers.health()
        reasons = [errors[model].public_message for model in sorted(failed)]
        reasons += [_ILL.format(model=model) for model in sorted(ill - failed)]
        reasons += [f"the breaker {name} is open" for name in breakers["down"]]
        if closed or dispatcher.draining:
            status, reasons = "draining", ["the engine is shutting down"]
        elif dispatcher.silent_s > _SILENT_S:
            status, reasons = "down", ["the engine does not look around"]
        elif not failed and expects_preload and not answering and not dispatcher.tally.loads:
            status, reasons = "starting", ["the first model is being loaded"]
        elif main in failed | ill and not answering & used:
            status = "down"
        else:
            status = "degraded" if reasons else "ready"
        return {
            "status": status,
            "ready": status in {"ready", "degraded"},
            "reasons": reasons,
            "breakers": breakers,
        }

    def _sorted_workers(self) -> tuple[set[str], set[str]]:
        """Models whose worker answers, and models whose worker is silent or being ended."""
        answering: set[str] = set()
        silent: set[str] = set()
        now_s = self._clock.now()
        for record in self._dispatcher.records():
            if record.plan is None or record.loaded is None or record.renewing:
                continue
            is_silent = record.heartbeat is not None and now_s - record.heard_s > self._heartbeat_s
            if record.stopped or record.cause is not None or is_silent:
                silent.add(record.plan.model)
            elif record.state is WorkerState.READY:
                answering.add(record.plan.model)
        return answering, silent - answering


def _worker(record: WorkerRecord, now_s: float, restarts: dict[str, int]) -> dict[str, Any]:
    beat, loaded, plan = record.heartbeat, record.loaded, record.plan
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
        "heard_s": round(max(0.0, now_s - record.heard_s), 3),
        "restarts": restarts.get(plan.model, 0) if plan else 0,
        "details": dict(loaded.details) if loaded else {},
    }

"""What the engine's parts count, read at each scrape of the metrics."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orion.engine.reload import Reloader
    from orion.engine.services import Services
    from orion.metrics import Metrics

_CACHE_COUNTERS = {
    "hits": "Answers given again.",
    "misses": "Answers that could have been given again and were not there.",
    "joined": "Requests that heard an answer made for another.",
    "stored": "Answers kept.",
}


class Gauges:
    """Functions of the parts as they are now; nothing is counted here."""

    def __init__(self, services: Services, reloader: Reloader) -> None:
        self._services = services
        self._reloader = reloader

    def publish(self, metrics: Metrics) -> None:
        """Have `metrics` read them."""
        dispatcher, tally = self._services.dispatcher, self._services.dispatcher.tally
        for key in ("running", "waiting", "capacity"):
            metrics.gauge(f"orion_requests_{key}", f"Requests: {key}.", partial(self._count, key))
        metrics.gauge("orion_workers_rss_bytes", "Memory of all workers.", self._rss_bytes)
        metrics.count("orion_worker_deaths", "Workers that were lost.", lambda: tally.deaths)
        metrics.count("orion_fallbacks", "Attempts taken over.", lambda: tally.fallbacks)
        metrics.count("orion_model_loads", "Loads that ended well.", lambda: tally.loads)
        metrics.count("orion_model_evictions", "Models let go.", lambda: tally.evictions)
        metrics.count(
            "orion_speculative_loads", "Loads begun on a guess.", lambda: tally.speculative_loads
        )
        metrics.count(
            "orion_registry_reloads",
            "Times the registry was replaced.",
            lambda: int(self._reloader.stats()["reloads"]),
        )
        metrics.labelled_count(
            "orion_refusals", "Requests not let in.", "code", lambda: dict(tally.refusals)
        )
        metrics.labelled(
            "orion_model_bytes", "Memory of a resident model.", "model", self._model_bytes
        )
        metrics.gauge(
            "orion_quarantined", "Contents refused now.", lambda: float(dispatcher.quarantined)
        )
        metrics.labelled("orion_breaker_open", "1 during a break.", "breaker", self._open_breakers)
        for key, meaning in _CACHE_COUNTERS.items():
            metrics.count(f"orion_answer_cache_{key}", meaning, partial(self._cached, key))

    def _count(self, key: str) -> float:
        return float(self._services.dispatcher.counts()[key])

    def _cached(self, key: str) -> int:
        return int(self._services.answer_cache.stats()[key])

    def _model_bytes(self) -> dict[str, float]:
        rows = self._services.dispatcher.models()
        return {row["model"]: float(row["bytes"]) for row in rows if row["state"] == "resident"}

    def _rss_bytes(self) -> float:
        beats = (record.heartbeat for record in self._services.dispatcher.records())
        return float(sum(beat.rss_bytes for beat in beats if beat))

    def _open_breakers(self) -> dict[str, float]:
        return {
            str(known["name"]): float(known["state"] == "open" and known["retry_after_s"] != 0)
            for known in self._services.breakers.snapshot()
        }

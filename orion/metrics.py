"""Prometheus metrics in a registry of their own, so that two engines do not collide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orion.types import Timings, Usage

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class _Scraped(Collector):
    """Metrics made at the moment they are asked for."""

    def __init__(self, collect: Callable[[], list[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        return self._collect()


class Metrics:
    """What is counted and timed."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "orion_requests", "Requests ended.", ["agent", "outcome"], registry=registry
        )
        self._refusals: dict[str, Counter] = {}
        self._routes = Counter(
            "orion_router_decisions",
            "Routing decisions.",
            ["agent", "abstained"],
            registry=registry,
        )
        self._tokens = Counter("orion_tokens", "Tokens.", ["kind"], registry=registry)
        self._ttft = Histogram(
            "orion_ttft_seconds",
            "Admission to first text.",
            ["start"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._tpot = Histogram(
            "orion_tpot_seconds",
            "Time per token after the first.",
            buckets=_TOKEN_SECONDS,
            registry=registry,
        )
        self._queue = Histogram(
            "orion_queue_seconds", "Time in the queue.", buckets=_SECONDS, registry=registry
        )
        self._load = Histogram(
            "orion_load_seconds", "Time waiting for a load.", buckets=_SECONDS, registry=registry
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def count(self, name: str, help_text: str, read: Callable[[], int]) -> None:
        """Add a counter whose value is read at each scrape."""

        def collect() -> list[Metric]:
            return [CounterMetricFamily(name, help_text, value=float(read()))]

        self._registry.register(_Scraped(collect))

    def labelled(
        self, name: str, help_text: str, label: str, read: Callable[[], dict[str, float]]
    ) -> None:
        """Add a gauge with one label whose values are read at each scrape."""

        def collect() -> list[Metric]:
            family = GaugeMetricFamily(name, help_text, labels=[label])
            for value, number in read().items():
                family.add_metric([value], number)
            return [family]

        self._registry.register(_Scraped(collect))

    def labelled_count(
        self, name: str, help_text: str, label: str, read: Callable[[], dict[str, int]]
    ) -> None:
        """Add a counter with one label whose values are read at each scrape."""

        def collect() -> list[Metric]:
            family = CounterMetricFamily(name, help_text, labels=[label])
            for value, number in read().items():
                family.add_metric([value], float(number))
            return [family]

        self._registry.register(_Scraped(collect))

    def routed(self, agent: str, *, abstained: bool) -> None:
        """A routing decision was taken."""
        self._routes.labels(agent, str(abstained).lower()).inc()

    def ended(
        self, *, agent: str, outcome: str, timings: Timings, usage: Usage, cached: bool = False
    ) -> None:
        """A request ended; `outcome` is `success`, `cancelled` or an error code.

        A `cached` one is counted and its first text timed apart: no token was made for it.
        """
        self._requests.labels(agent, outcome).inc()
        if cached:
            if timings.ttft_s is not None:
                self._ttft.labels("cached").observe(timings.ttft_s)
            return
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("prompt_cached").inc(usage.cached_tokens)
        self._tokens.labels("completion").inc(usage.completion_tokens)
        if timings.ttft_s is not None:
            self._ttft.labels(timings.start).observe(timings.ttft_s)
            self._queue.observe(timings.queue_s)
            if timings.load_s:
                self._load.observe(timings.load_s)
        if timings.tpot_s is not None:
            self._tpot.observe(timings.tpot_s)

    def refused(self, code: str) -> None:
        """A request was turned away before anything was done for it."""
        if code not in self._refusals:
            self._refusals[code] = self._requests.labels("none", code)
        self._refusals[code].inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

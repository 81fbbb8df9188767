"""Whether the probes tell the truth: asked ten times a second while faults happen (G14)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from benchmarks.chaos.http_client import get
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import percentile, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from orion.engine import Engine

HZ = 10.0
WRONG_MAX_S = 1.0
LIVE_MAX_S = 0.05

ALL = frozenset({"ready"})
SOME = frozenset({"degraded"})
NONE = frozenset({"down"})


class _Repeated:
    """Looks ten times a second, from a thread of its own, while its `with` block runs."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1 / HZ):
            self._look_once()

    def _look_once(self) -> None:
        raise NotImplementedError


class HealthWatch(_Repeated):
    """Asks for the health and compares it with what the scenario knows to be true.

    Args:
        look: Returns the status the server tells of itself; "" where it does not answer.

    Attributes:
        wrong_s: The longest time for which it was not what was expected.
    """

    def __init__(self, look: Callable[[], str]) -> None:
        self.wrong_s = 0.0
        self.wrong: list[tuple[float, str]] = []
        self.looks = 0
        self._look = look
        self._expected = ALL
        self._since_s = time.monotonic()
        self._lock = threading.Lock()
        super().__init__()

    def expect(self, statuses: frozenset[str], since_s: float | None = None) -> None:
        """From `since_s` (default: now) on, one of `statuses` is the truth."""
        with self._lock:
            self._expected = statuses
            self._since_s = time.monotonic() if since_s is None else since_s

    def _look_once(self) -> None:
        asked_s = time.monotonic()
        status = self._look()
        with self._lock:
            if asked_s < self._since_s:  # the truth changed while it was being asked
                return
            self.looks += 1
            if status in self._expected:
                self._since_s = time.monotonic()
                return
            wrong_s = time.monotonic() - self._since_s
            self.wrong_s = max(self.wrong_s, wrong_s)
            if wrong_s > WRONG_MAX_S:
                self.wrong.append((round(wrong_s, 2), status))


class Pulse(_Repeated):
    """Latencies of `/livez`, ten times a second, each over a connection of its own."""

    def __init__(self, port: int) -> None:
        self.latencies_s: list[float] = []
        self.failures = 0
        self._port = port
        super().__init__()

    def _look_once(self) -> None:
        begun_s = time.monotonic()
        status, _ = get(self._port, "/livez")
        self.latencies_s.append(time.monotonic() - begun_s)
        self.failures += status != 200  # noqa: PLR2004


def of_app(port: int) -> Callable[[], str]:
    """Reads the status from `/readyz`; a word and a status code that contradict are neither."""

    def look() -> str:
        status, health = get(port, "/readyz")
        said = str(health.get("status", "")) if isinstance(health, dict) else ""
        is_ready = said in {"ready", "degraded"}
        return said if is_ready == (status == 200) else f"{status} {said}"  # noqa: PLR2004

    return look


def of_engine(engine: Engine) -> Callable[[], str]:
    """Reads the status from the engine, as `/readyz` does."""
    return lambda: str(engine.health()["status"])


def truth_row(watches: Sequence[HealthWatch], where: str) -> Row:
    """The figure for one scenario."""
    wrong_s = max(watch.wrong_s for watch in watches)
    looks = sum(watch.looks for watch in watches)
    return Row(
        figure="G14",
        what=f"health tells the truth: {where}",
        goal=f"wrong for ≤ {WRONG_MAX_S:g} s",
        measured=f"longest {seconds(wrong_s)} ({looks} looks)",
        met=wrong_s <= WRONG_MAX_S and looks > 0,
        details={"timing": True, "wrong": [entry for w in watches for entry in w.wrong][:20]},
    )


def live_row(pulses: Sequence[Pulse], where: str) -> Row:
    """`/livez` under load."""
    latencies_s = [latency for pulse in pulses for latency in pulse.latencies_s]
    failures = sum(pulse.failures for pulse in pulses)
    p99_s = percentile(latencies_s, 99)
    return Row(
        figure="G14",
        what=f"/livez never blocks: {where}",
        goal=f"p99 ≤ {LIVE_MAX_S * 1000:.0f} ms, each answered",
        measured=f"p99 {p99_s * 1000:.1f} ms of {len(latencies_s)}, {failures} failed",
        met=p99_s <= LIVE_MAX_S and not failures,
        details={"timing": True, "p50_s": percentile(latencies_s, 50), "max_s": max(latencies_s)},
    )

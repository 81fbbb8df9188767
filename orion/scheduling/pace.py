"""How long things take here, measured, and when it is worth coming back."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

SERVICE_PRIOR_S = 5.0
LOAD_PRIOR_S = 3.0
_WEIGHT = 0.2
_MARGIN = 1.15
_RETRY_MIN_S = 1.0
_RETRY_MAX_S = 3600.0
_CLIENTS_MAX = 1024
_STEP_MIN_S = 1e-9


@dataclass(slots=True)
class Mean:
    """A moving mean: plain over the first samples, then the latest weigh a fifth."""

    value: float
    count: int = 0

    def add(self, sample: float) -> None:
        """One more sample."""
        self.count += 1
        self.value += max(_WEIGHT, 1 / self.count) * (sample - self.value)


@dataclass(slots=True)
class Pace:
    """Per model: seconds of one answer in its slot, and of one load."""

    _services: dict[str, Mean] = field(default_factory=dict)
    _loads: dict[str, Mean] = field(default_factory=dict)
    _service: Mean = field(default_factory=lambda: Mean(SERVICE_PRIOR_S))
    _load: Mean = field(default_factory=lambda: Mean(LOAD_PRIOR_S))

    def served(self, model: str, seconds: float) -> None:
        """An answer held its slot for so long."""
        self._services.setdefault(model, Mean(SERVICE_PRIOR_S)).add(seconds)
        self._service.add(seconds)

    def loaded(self, model: str, seconds: float) -> None:
        """A load took so long."""
        self._loads.setdefault(model, Mean(LOAD_PRIOR_S)).add(seconds)
        self._load.add(seconds)

    def forget(self, model: str) -> None:
        """It is not what it was."""
        self._services.pop(model, None)
        self._loads.pop(model, None)

    def service_s(self, model: str | None = None) -> float:
        """Of an answer of `model`, or of any where it has given none."""
        return (self._services.get(model or "") or self._service).value

    def load_s(self, model: str) -> float:
        """Of a load of `model`, or of any where it was never loaded."""
        return (self._loads.get(model) or self._load).value

    def is_measured(self, model: str) -> bool:
        """Whether anything was timed by which a wait for `model` could be told."""
        return model in self._services or self._service.count > 0

    def is_known(self, model: str) -> bool:
        """Whether answers of `model` were timed often enough to refuse somebody by it."""
        mean = self._services.get(model)
        return mean is not None and mean.count >= 1 / _WEIGHT


class Promises:
    """When each of those that were refused may come back, one after the other.

    Told the same time, they would all come at once and be refused again. Each refusal books the
    next place that becomes free; the queue's second half is kept for what was not foreseen.
    Places are booked, not times: what was reckoned before anything was measured is soon put
    right. May be used from any thread.
    """

    def __init__(self) -> None:
        self._booked: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def next(self, line: str, *, now_s: float, first_s: float, every_s: float) -> float:
        """Whole seconds until the next free place in `line` ("": the system's, else a client's).

        `first_s` from now a place is free at all; another one follows `every_s` after each.
        """
        step_s = max(_STEP_MIN_S, every_s * _MARGIN)
        with self._lock:
            if line not in self._booked and len(self._booked) >= _CLIENTS_MAX:
                self._forget_oldest()
            ahead, at_s = self._booked.pop(line, (0.0, now_s))
            ahead = max(0.0, ahead - (now_s - at_s) / step_s)
            told_s = min(first_s + ahead * step_s, _RETRY_MAX_S)
            self._booked[line] = (min(ahead + 1.0, _RETRY_MAX_S / step_s), now_s)
        return max(_RETRY_MIN_S, float(math.ceil(told_s)))

    def _forget_oldest(self) -> None:
        """Of the clients, never of the system's own line."""
        self._booked.pop(next(line for line in self._booked if line))

"""A machine with places for models, on a clock moved by hand: it tells what a dispatcher tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orion.clock import ManualClock

Observer = Callable[[str, str, dict[str, Any]], None]


class Places:
    """Loads models for real requests, and ahead of them when asked to; the oldest makes room."""

    def __init__(self, clock: ManualClock, observer: Observer, *, num: int, load_s: float) -> None:
        self.clock = clock
        self.waited_s = 0.0
        self._observer = observer
        self._num = num
        self._load_s = load_s
        self._models: list[str] = []
        self._speculative: dict[str, float] = {}

    def prefetch(self, model: str) -> None:
        """Begin to load `model`; it is complete `load_s` later."""
        if model not in self._models:
            self._make_room()
            self._models.append(model)
            self._speculative[model] = self.clock.now()

    def think(self, seconds: float) -> None:
        """Nobody asks for a while; loads ahead go on."""
        self.clock.advance(seconds)
        for model, began_s in self._speculative.items():
            if self.clock.now() - began_s >= self._load_s:
                self._observer("loaded", model, {"seconds": self._load_s, "speculative": True})

    def ask(self, model: str) -> None:
        """A real request for `model`: it waits for what is missing of the load."""
        began_s = self._speculative.pop(model, None)
        if model not in self._models:
            self._make_room()
            self._models.append(model)
            self._wait(self._load_s)
            self._observer("loaded", model, {"seconds": self._load_s, "speculative": False})
        ahead_s = 0.0 if began_s is None else min(self._load_s, self.clock.now() - began_s)
        if began_s is not None and ahead_s < self._load_s:
            self._wait(self._load_s - ahead_s)
            self._observer("loaded", model, {"seconds": self._load_s, "speculative": True})
        facts = {"speculative": began_s is not None, "load_s_saved": ahead_s}
        self._observer("granted", model, facts)

    def _wait(self, seconds: float) -> None:
        self.waited_s += seconds
        self.clock.advance(seconds)

    def _make_room(self) -> None:
        while len(self._models) >= self._num:
            model = self._models.pop(0)
            unused = self._speculative.pop(model, None) is not None
            self._observer("gone", model, {"speculative_unused": unused})

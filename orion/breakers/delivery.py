"""Carries events to one listener, in order, on a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.breakers.state import BreakerEvent
    from orion.clock import Clock
    from orion.logs import Log

MOST_WAITING = 1024
"""Events a listener may be behind by; beyond, the oldest is dropped."""

LONG_S = 1.0
"""A listener that keeps an event for longer is told of in the log."""

CLOSE_S = 1.0
"""How long a listener may take to hear what waits before it is left alone."""


class Delivery:
    """The queue and the thread of one listener.

    `put` never waits and may be called anywhere, a finalizer included. A listener that raises,
    takes long or is far behind harms nobody and is logged once.
    """

    def __init__(self, *, clock: Clock, log: Log | None) -> None:
        self._clock = clock
        self._log = log
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._first_complaint = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="breaker-events", daemon=True)
        self._thread.start()

    def put(self, tell: Callable[[BreakerEvent], object], event: BreakerEvent) -> None:
        """Have `tell(event)` called soon."""
        self._calls.put(partial(tell, event))
        if self._calls.qsize() > MOST_WAITING:
            with contextlib.suppress(Empty):
                self._calls.get_nowait()
            if not self._first_complaint.locked():  # in a thread: who puts may wait for no log
                problem = ("is far behind",)
                threading.Thread(target=self._complain, args=problem, daemon=True).start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was put before is delivered; whether it was, in time."""
        delivered = threading.Event()
        self._calls.put(delivered.set)
        return delivered.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Deliver what waits, then end the thread; a listener that blocks is left alone."""
        self._calls.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            began_s = self._clock.now()
            try:
                call()
            except Exception as error:  # noqa: BLE001 - somebody else's code
                self._complain(f"raised {type(error).__name__}")
            if self._clock.now() - began_s > LONG_S:
                self._complain("takes long")

    def _complain(self, problem: str) -> None:
        """Log the first problem."""
        if self._first_complaint.acquire(blocking=False) and self._log is not None:
            self._log.warning("breaker.listener", problem=problem)

"""Who holds how much of the system: those that run and those that wait, by client."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orion.scheduling.line import Waiter


class Shares:
    """Counts by client. Nobody in particular ("") has no share and exceeds none."""

    def __init__(self) -> None:
        self.running: dict[str, int] = {}
        self._waiting: dict[str, dict[str, Waiter]] = {}
        self._hog = ""

    def held(self, client: str) -> int:
        """Requests of one client, running and waiting."""
        return self.running.get(client, 0) + len(self._waiting.get(client, ()))

    @property
    def num_clients(self) -> int:
        """How many are here, nobody in particular counted as one."""
        return len(self.running.keys() | self._waiting.keys())

    def waits(self, waiter: Waiter, share: int) -> None:
        """A request waits."""
        client = waiter.client
        self._waiting.setdefault(client, {})[waiter.request_id] = waiter
        if client and self.held(client) > share:
            self._hog = client

    def left(self, waiter: Waiter) -> None:
        """It waits no more."""
        mine = self._waiting[waiter.client]
        del mine[waiter.request_id]
        if not mine:
            del self._waiting[waiter.client]

    def runs(self, client: str) -> None:
        """An answer of a client begins."""
        self.running[client] = self.running.get(client, 0) + 1

    def ended(self, client: str, count: int = 1) -> None:
        """So many of its answers ended."""
        left = self.running.get(client, 0) - count
        if left > 0:
            self.running[client] = left
        else:
            self.running.pop(client, None)

    def hog(self, share: int) -> str:
        """The client that holds more than `share`, or "". There can be only one over half."""
        return self._hog if self._hog and self.held(self._hog) > share else ""

    def newest_of(self, client: str) -> Waiter | None:
        """The request of a client that has waited the least, and may be refused."""
        mine = self._waiting.get(client, {})
        return next((waiter for waiter in reversed(mine.values()) if not waiter.resuming), None)

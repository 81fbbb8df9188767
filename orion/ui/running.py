"""Which browser tab waits for which request, so that Stop and leaving reach it at once."""

from __future__ import annotations

import threading


class Running:
    """The request under way in each tab. Thread-safe; nothing slow happens under its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_tab: dict[str, str] = {}
        self._stopped: set[str] = set()

    def began(self, tab: str, request_id: str) -> None:
        """`tab` now waits for `request_id`."""
        with self._lock:
            self._by_tab[tab] = request_id

    def ended(self, tab: str, request_id: str) -> None:
        """Forget it, unless `tab` has begun another."""
        with self._lock:
            self._stopped.discard(request_id)
            if self._by_tab.get(tab) == request_id:
                del self._by_tab[tab]

    def of(self, tab: str) -> str | None:
        """The request `tab` waits for."""
        with self._lock:
            return self._by_tab.get(tab)

    def stop(self, tab: str) -> str | None:
        """The request `tab` waits for, remembered as stopped until it has ended."""
        with self._lock:
            request_id = self._by_tab.get(tab)
            if request_id:
                self._stopped.add(request_id)
            return request_id

    def is_stopped(self, request_id: str) -> bool:
        """Whether it was stopped, perhaps before the engine knew it."""
        return request_id in self._stopped

"""How much memory this process holds."""

from __future__ import annotations

import os


def rss_bytes() -> int:
    """Resident set of this process."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - hot path
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # pragma: no cover - only where there is no /proc
        import psutil

        return int(psutil.Process().memory_info().rss)

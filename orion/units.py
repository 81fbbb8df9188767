"""Numbers with units, read and written the way people do."""

from __future__ import annotations

KIB = 1024
MIB = 1024**2
GIB = 1024**3


def format_bytes(count: int) -> str:
    """`98362432` → `"93.8 MiB"`; below 1 KiB the plain count."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < KIB:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= KIB
    return f"{size:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """`0.0123` → `"12 ms"`, `3.21` → `"3.2 s"`, `125` → `"2 min 5 s"`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"

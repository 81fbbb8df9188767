"""How long a model is to stay: seconds, or a duration as Go writes it, as in Ollama."""

from __future__ import annotations

import math
import re
from typing import Any

from orion.errors import InvalidQueryError

FOR_EVER_S = -1.0
LONGEST_S = 10 * 365 * 86_400.0
_CHARS_MAX = 64
_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,  # the sign for micro, and the Greek letter: Go takes both
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PART = re.compile(f"({_NUMBER})({'|'.join(_UNITS_S)})")
_DURATION = re.compile(f"([+-]?)((?:{_NUMBER}(?:{'|'.join(_UNITS_S)}))+|{_NUMBER})")
_WORDS = (
    "must be seconds (300, -1 for ever, 0 not at all) or a duration such as '5m', '1h30m', '300ms'"
)


def parse_keep_alive(value: Any, *, field: str = "keep_alive") -> float | None:
    """Seconds a model stays when idle; 0 not at all, `FOR_EVER_S` for ever, None as it was.

    Args:
        value: None, a number of seconds, a text that holds one, or a duration in hours to
            nanoseconds. Anything below 0 is for ever.
        field: What a refusal calls it.

    Raises:
        InvalidQueryError: It is none of these, or longer than ten years.
    """
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None:
        raise InvalidQueryError(field=field, reason=_WORDS)
    if seconds > LONGEST_S:
        raise InvalidQueryError(field=field, reason="is more than ten years; -1 is for ever")
    return FOR_EVER_S if seconds < 0 else float(seconds) + 0.0


def _seconds(value: Any) -> float | None:
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _of_text(text: str) -> float | None:
    found = _DURATION.fullmatch(text) if len(text) <= _CHARS_MAX else None
    if found is None:
        return None
    sign, size = found.groups()
    parts = _PART.findall(size)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if not parts:
        seconds = float(size)
    return -seconds if sign == "-" else seconds

"""What a worker tells of an exception, made fit to travel in a frame."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.errors import OrionError

_TRACE_CHARS = 4000
_LINE_CHARS = 200
_INT_END = 2**63


def plain_facts(error: OrionError) -> dict[str, Any]:
    """The facts of an error, whatever was put into them: text, numbers, truth values, None."""
    return {
        name: value if value is None or isinstance(value, bool | float) else _plain(value)
        for name, value in error.facts.items()
    }


def trace_of(error: BaseException) -> str:
    """The end of the traceback, for the log."""
    return str(_plain("".join(traceback.format_exception(error))[-_TRACE_CHARS:]))


def one_line(error: BaseException) -> str:
    """Class and message of a foreign exception, as a reason in a sentence."""
    text = " ".join(str(error).split())[:_LINE_CHARS]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. torch's errors are known by their names: it is not imported here."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    )


def _plain(value: Any) -> int | str:
    if isinstance(value, int) and abs(value) < _INT_END:
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()

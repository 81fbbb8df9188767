"""Log lines to standard error: JSON for machines, coloured text for a terminal."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from orion.settings import LogFormat

if TYPE_CHECKING:
    from orion.settings import LogSettings

Log = structlog.typing.FilteringBoundLogger
"""What every part of the house logs through; handed in, never looked up."""


def make_log(settings: LogSettings, stream: TextIO | None = None) -> Log:
    """A logger that writes to `stream` (standard error) and never raises."""
    target = stream or sys.stderr
    as_text = settings.format is LogFormat.TEXT or (
        settings.format is LogFormat.AUTO and target.isatty()
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    )
    log: Log = structlog.wrap_logger(
        _Sink(target),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level)),
        cache_logger_on_first_use=True,
    )
    return log


class _Sink:
    """Writes lines; a full disk or a closed terminal costs the line, not the request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = log = msg

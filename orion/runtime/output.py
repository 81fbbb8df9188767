"""One answer on its way to the parent."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from orion.protocol import Delta, Prefilling, Started

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.protocol import Frame

_PREFILLING_EVERY_S = 0.2


class JobOutput:
    """One answer on its way to the parent: pieces closer than `interval_s` travel as one.

    The first piece never waits, but white space at the start waits for something visible:
    an answer of nothing else must not count as delivered. From `deadline_s`, a stamp of
    the machine's monotonic clock, the job is stopped without anyone asking. Used by the
    job's thread only, but for `stop()`.
    """

    def __init__(
        self,
        request_id: str,
        send: Callable[[Frame], None],
        interval_s: float,
        *,
        deadline_s: float | None = None,
    ) -> None:
        self._request_id = request_id
        self._send = send
        self._interval_s = interval_s
        self._deadline_s = deadline_s
        self._stopped = threading.Event()
        self._text = ""
        self._pending_tokens = 0
        self._seq = 0
        self._sent_at_s: float | None = None
        self._prefill_told_s = time.monotonic()
        self.is_visible = False
        self.num_tokens = 0

    @property
    def stopped(self) -> bool:
        """Whether the caller wants no more, or its time is over."""
        if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
            return True
        return self._stopped.is_set()

    def stop(self) -> None:
        """Ask the job to end at its next token; from any thread."""
        self._stopped.set()

    def started(self, *, prompt_tokens: int, trimmed_messages: int) -> None:
        """The prompt is built and fits."""
        self._prefill_told_s = time.monotonic()
        self._send(
            Started(
                request_id=self._request_id,
                prompt_tokens=prompt_tokens,
                trimmed_messages=trimmed_messages,
            )
        )

    def prefilling(self, read_tokens: int, prompt_tokens: int) -> None:
        """So much of the prompt is read; told at most five times a second."""
        now_s = time.monotonic()
        if now_s - self._prefill_told_s < _PREFILLING_EVERY_S:
            return
        self._prefill_told_s = now_s
        self._send(
            Prefilling(
                request_id=self._request_id, read_tokens=read_tokens, prompt_tokens=prompt_tokens
            )
        )

    def piece(self, text: str, num_tokens: int) -> None:
        """More text and the tokens behind it."""
        self.num_tokens += num_tokens
        self._pending_tokens += num_tokens
        self._text += text
        if not self.is_visible:
            if not text.strip():
                return
            self.is_visible = True
        now_s = time.monotonic()
        if self._text and (self._sent_at_s is None or now_s - self._sent_at_s >= self._interval_s):
            self.flush(now_s)

    def flush(self, now_s: float | None = None) -> None:
        """Send what is held back."""
        if not self._text:
            return
        self._send(
            Delta(
                request_id=self._request_id,
                seq=self._seq,
                text=self._text,
                num_tokens=self._pending_tokens,
            )
        )
        self._seq += 1
        self._text, self._pending_tokens = "", 0
        self._sent_at_s = time.monotonic() if now_s is None else now_s

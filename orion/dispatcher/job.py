"""One attempt of a request while a worker runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orion.protocol import Delta

if TYPE_CHECKING:
    from orion.breakers import Permit
    from orion.dispatcher.ticket import Attempt, Ticket
    from orion.protocol import Prefilling, Started

_TOKENS_OVER = 64
_EMPTY_PIECES_MAX = 1000
_MARKS_MAX = 2000


@dataclass(slots=True, kw_only=True)
class Job:
    """What the worker was asked and how it goes.

    The counters belong to the worker's reader thread, the rest to the dispatcher's. `over`
    means that the request has moved on: the worker only has to let go of it. `cut_short`: the
    request had less time left than an attempt is given.
    """

    id: str
    ticket: Ticket
    attempt: Attempt
    granted_s: float
    deadline_s: float
    permit: Permit | None
    injected: bool = False
    over: bool = False
    cut_short: bool = False
    timed_out: bool = False
    stop_sent_s: float | None = None
    moved_s: float = 0.0
    first_text_s: float | None = None
    gap_s: float = 0.0
    num_marks: int = 0
    num_pieces: int = 0
    num_tokens: int = 0

    @property
    def max_tokens(self) -> int | None:
        """What the worker may produce at most."""
        limit = self.attempt.generate.sampling.get("max_tokens") if self.attempt.generate else None
        return limit if isinstance(limit, int) else None

    @property
    def ttft_s(self) -> float | None:
        """From the grant to the first text, in seconds."""
        return None if self.first_text_s is None else self.first_text_s - self.granted_s

    def took(self, message: Started | Prefilling | Delta, now_s: float) -> str | None:
        """Count what came. Returns what is wrong with it, if the worker breaks the rules."""
        if not isinstance(message, Delta):
            self.moved_s = now_s
            self.num_marks += 1
            return "it never ceases to read the prompt" if self.num_marks > _MARKS_MAX else None
        if message.seq != self.num_pieces:
            return f"piece {message.seq} came where {self.num_pieces} was due"
        self.num_pieces += 1
        self.num_tokens += message.num_tokens
        if message.text and self.first_text_s is None:
            self.first_text_s = now_s
        elif message.text:
            self.gap_s = max(self.gap_s, now_s - self.moved_s)
        self.moved_s = now_s
        limit = self.max_tokens
        if limit is not None and self.num_tokens > limit + _TOKENS_OVER:
            return f"{self.num_tokens} tokens came where {limit} were asked for"
        if self.num_pieces > self.num_tokens + _EMPTY_PIECES_MAX:
            return f"{self.num_pieces} pieces came for {self.num_tokens} tokens"
        return None

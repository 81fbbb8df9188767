"""Where one request's time and tokens went."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orion.types import Timings, Usage

if TYPE_CHECKING:
    from orion.clock import Clock
    from orion.dispatcher import Granted
    from orion.protocol import Done, Started


class Account:
    """Stamps and counts of one request, turned into `Timings` and `Usage` at any moment."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.now()
        self._guarded_s: float | None = None
        self._routed_s: float | None = None
        self._granted_s: float | None = None
        self._failed_s = 0.0
        self._first_text_s: float | None = None
        self._ended_s: float | None = None
        self._grant: Granted | None = None
        self._pieces: list[str] = []
        self.usage = Usage()

    @property
    def answer_text(self) -> str:
        """What has been handed to the caller."""
        return "".join(self._pieces)

    @property
    def has_text(self) -> bool:
        """Whether any text has been handed out."""
        return bool(self._pieces)

    @property
    def runtime(self) -> str:
        """The runtime that answers, or "" before the grant."""
        return self._grant.runtime if self._grant else ""

    def guard_done(self) -> None:
        """The input guardrails passed it."""
        self._guarded_s = self._clock.now()

    def route_done(self) -> None:
        """The agent is chosen."""
        self._routed_s = self._clock.now()

    def granted(self, grant: Granted) -> None:
        """The request runs."""
        self._grant = grant
        self._granted_s = self._clock.now()

    def fell_back(self) -> None:
        """The attempt failed and another one begins: what it took counts apart."""
        now_s = self._clock.now()
        routed_s = now_s if self._routed_s is None else self._routed_s
        self._failed_s = now_s - routed_s
        self._granted_s, self._grant = None, None
        self.usage = Usage()

    def started(self, started: Started) -> None:
        """The worker built the prompt."""
        self.usage = replace(self.usage, prompt_tokens=started.prompt_tokens)

    def text(self, piece: str, num_tokens: int) -> None:
        """A piece is about to be handed to the caller."""
        if piece and self._first_text_s is None:
            self._first_text_s = self._clock.now()
        if piece:
            self._pieces.append(piece)
        tokens = self.usage.completion_tokens + num_tokens
        self.usage = replace(self.usage, completion_tokens=tokens)

    def done(self, done: Done) -> None:
        """The answer ended; the worker counted its tokens."""
        self._ended_s = self._clock.now()
        self.usage = Usage(
            prompt_tokens=done.prompt_tokens,
            cached_tokens=done.cached_tokens,
            completion_tokens=done.completion_tokens,
        )

    def timings(self) -> Timings:
        """The parts so far, in seconds; those up to the first text add up to `ttft_s`."""
        now_s = self._clock.now() if self._ended_s is None else self._ended_s
        # A step that has not been reached begins, and ends, now.
        first_s = now_s if self._first_text_s is None else self._first_text_s
        granted_s = first_s if self._granted_s is None else self._granted_s
        routed_s = granted_s if self._routed_s is None else self._routed_s
        guarded_s = routed_s if self._guarded_s is None else self._guarded_s
        load_s = self._grant.load_s if self._grant else 0.0
        decode_s = now_s - first_s
        later_tokens = self.usage.completion_tokens - 1
        measured = later_tokens > 0 and decode_s > 0
        return Timings(
            guard_s=guarded_s - self._began_s,
            route_s=routed_s - guarded_s,
            failed_s=self._failed_s,
            queue_s=granted_s - routed_s - self._failed_s - load_s,
            load_s=load_s,
            prefill_s=first_s - granted_s,
            decode_s=decode_s,
            ttft_s=None if self._first_text_s is None else first_s - self._began_s,
            tpot_s=decode_s / later_tokens if measured else None,
            tokens_per_s=later_tokens / decode_s if measured else None,
            total_s=now_s - self._began_s,
            start="cold" if self._grant and self._grant.cold else "warm",
        )

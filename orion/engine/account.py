"""Where one request's time and tokens went."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orion.engine.source import usage_of
from orion.types import Timings, Usage

if TYPE_CHECKING:
    from orion.answer_cache import Hit
    from orion.clock import Clock
    from orion.dispatcher import Granted
    from orion.protocol import Done, Started


class Account:
    """Stamps and counts of one request, turned into `Timings` and `Usage` at any moment.

    `runtime` is the one that answers, "" before the grant. `cached_age_s` is how long ago the
    answer was made for another request, 0 where it is being made, None where it is not.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.now()
        self._guarded_s: float | None = None
        self._routed_s: float | None = None
        self._granted_s: float | None = None
        self._failed_s = 0.0
        self._first_text_s: float | None = None
        self._ended_s: float | None = None
        self._load_s = 0.0
        self._cold = False
        self._pieces: list[str] = []
        self.runtime = ""
        self.usage = Usage()
        self.cached_age_s: float | None = None

    @property
    def answer_text(self) -> str:
        """What has been handed to the caller."""
        return "".join(self._pieces)

    @property
    def has_text(self) -> bool:
        """Whether any text has been handed out."""
        return bool(self._pieces)

    @property
    def is_cached(self) -> bool:
        """Whether another request's generation answers this one."""
        return self.cached_age_s is not None

    def guard_done(self) -> None:
        """The input guardrails passed it."""
        self._guarded_s = self._clock.now()

    def route_done(self) -> None:
        """The agent is chosen."""
        self._routed_s = self._clock.now()

    def granted(self, grant: Granted, *, waited: bool = True) -> None:
        """The request runs. Who joined one that ran already has not `waited` for its load."""
        self._granted_s = self._clock.now()
        self.runtime = grant.runtime
        if waited:
            so_far_s = self._granted_s - (self._routed_s or self._began_s) - self._failed_s
            self._load_s = min(grant.load_s, so_far_s)
            self._cold = grant.cold

    def recalled(self, hit: Hit) -> None:
        """It is answered by a stored answer; the tokens are those of its making."""
        self.text(hit.answer.text, 0)
        self.usage, self.runtime = hit.answer.usage, hit.answer.runtime
        self.cached_age_s = hit.age_s
        self._ended_s = self._clock.now()

    def fell_back(self) -> None:
        """The attempt failed and another one begins: what it took counts apart."""
        now_s = self._clock.now()
        routed_s = now_s if self._routed_s is None else self._routed_s
        self._failed_s = now_s - routed_s
        self._granted_s, self._load_s, self._cold = None, 0.0, False
        self.runtime, self.usage = "", Usage()

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
        self.usage = usage_of(done)

    def timings(self) -> Timings:
        """The parts so far, in seconds; those up to the first text add up to `ttft_s`."""
        now_s = self._clock.now() if self._ended_s is None else self._ended_s
        # A step that has not been reached begins, and ends, now.
        first_s = now_s if self._first_text_s is None else self._first_text_s
        granted_s = first_s if self._granted_s is None else self._granted_s
        routed_s = granted_s if self._routed_s is None else self._routed_s
        guarded_s = routed_s if self._guarded_s is None else self._guarded_s
        decode_s = now_s - first_s
        later_tokens = self.usage.completion_tokens - 1
        # What is given again comes at no speed of a model.
        measured = later_tokens > 0 and decode_s > 0 and not self.is_cached
        return Timings(
            guard_s=guarded_s - self._began_s,
            route_s=routed_s - guarded_s,
            failed_s=self._failed_s,
            queue_s=granted_s - routed_s - self._failed_s - self._load_s,
            load_s=self._load_s,
            prefill_s=first_s - granted_s,
            decode_s=decode_s,
            ttft_s=None if self._first_text_s is None else first_s - self._began_s,
            tpot_s=decode_s / later_tokens if measured else None,
            tokens_per_s=later_tokens / decode_s if measured else None,
            total_s=now_s - self._began_s,
            start="cold" if self._cold else "warm",
        )

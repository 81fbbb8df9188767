"""A request's place at the dispatcher, and the messages that come back on it."""

from __future__ import annotations

import math
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from orion.protocol import Delta

if TYPE_CHECKING:
    from orion.dispatcher.job import Job
    from orion.errors import OrionError
    from orion.protocol import Done, Generate, Prefilling, Started


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One agent that may answer: its model and what to send. `generate` None only loads.

    `breaker` is who its breaker is about, an agent id or, where a model was asked for by
    its name, a model id. A `last_resort` is never refused by a breaker. `after_death`: only for
    a request whose worker was lost under the attempt before.
    """

    model: str
    generate: Generate | None = None
    agent: str = ""
    breaker: str = ""
    last_resort: bool = False
    after_death: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Its place among those that wait for the same model, from 1, and the estimated wait."""

    position: int
    wait_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The load this request waits for moved on."""

    phase: str
    ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The request runs now, after so many seconds in the queue and in a load."""

    queue_s: float
    load_s: float
    cold: bool
    runtime: str
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack:
    """The attempt before failed with `error`, no text was out, and `attempt` takes over."""

    attempt: Attempt
    error: OrionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The request ends without an answer: refused, cancelled or failed."""

    error: OrionError


Said: TypeAlias = (
    "Queued | Loading | Granted | FellBack | Ended | Started | Prefilling | Delta | Done"
)
"""Everything a caller may hear of its request."""


@dataclass(slots=True, kw_only=True)
class Ticket:
    """One request at the dispatcher.

    `attempts` are tried in order; `name` is what the caller and the log call it; `limit_s` is
    the longest the whole may take; `content` is what the caller wrote, by which a request that
    ends its workers is known again; `client` is whose share it counts against ("": nobody's);
    `keep_alive_s` is how long its model stays when idle, None as the settings say.
    The other fields belong to the dispatcher thread, but for the messages: a worker's
    reader thread adds text, and the caller's thread takes everything out.
    """

    request_id: str
    attempts: tuple[Attempt, ...]
    name: str = ""
    limit_s: float = math.inf
    content: tuple[str, ...] = ()
    client: str = ""
    keep_alive_s: float | None = None
    messages: queue.SimpleQueue[Said] = field(default_factory=queue.SimpleQueue)
    submitted_s: float = 0.0
    waiting_s: float = 0.0
    deadline_s: float = math.inf
    fingerprint: str = ""
    index: int = 0
    job: Job | None = None
    ended: bool = False
    has_text: bool = False
    put_bytes: int = 0
    got_bytes: int = 0
    full_since_s: float | None = None
    stood: Queued | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def attempt(self) -> Attempt:
        """The one being tried."""
        return self.attempts[self.index]

    @property
    def model(self) -> str:
        """What it runs on, or waits for."""
        return self.attempt.model

    @property
    def backlog_bytes(self) -> int:
        """Characters, near enough, that the caller has not taken yet."""
        return self.put_bytes - self.got_bytes

    def get(self, timeout_s: float) -> Said | None:
        """The next message, or None when none came in time."""
        try:
            message = self.messages.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(message, Delta):
            self.got_bytes += len(message.text)
        return message

    def put(self, message: Said) -> None:
        """Tell the waiting caller, unless it has heard the last."""
        with self._lock:
            if not self.ended:
                self.messages.put(message)

    def stands(self, position: int, wait_s: float | None) -> None:
        """Tell the caller where it stands, if that has changed."""
        said = Queued(position=position, wait_s=None if wait_s is None else round(wait_s, 1))
        if said != self.stood:
            self.stood = said
            self.put(said)

    def deliver(self, job: Job, message: Started | Prefilling | Delta) -> None:
        """Hand on what `job` says, if it is still the one that answers. Reader threads."""
        with self._lock:
            if self.ended or job is not self.job:
                return
            if isinstance(message, Delta) and message.text:
                self.has_text = True
                self.put_bytes += len(message.text)
            self.messages.put(message)

    def end(self, message: Granted | Ended | Done) -> None:
        """Say the last; nothing is heard after it."""
        with self._lock:
            if not self.ended:
                self.ended = True
                self.messages.put(message)

    def fall_back(self, error: OrionError, index: int) -> bool:
        """Go on with another attempt, unless text is out. Of two threads, one wins."""
        with self._lock:
            if self.has_text or self.ended:
                return False
            self.job = None
            self.index = index
            self.messages.put(FellBack(attempt=self.attempt, error=error))
            return True

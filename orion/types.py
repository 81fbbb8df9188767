"""Values that every part of ORION speaks in. No behaviour beyond reading themselves."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from orion.errors import OrionError

AUTO = "auto"
"""The agent name that asks the router to choose."""


class Role(StrEnum):
    """Who wrote a message. Never taken from a client without this enum in between."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


class RequestState(StrEnum):
    """The states of one request, in the order they are walked."""

    IDLE = "idle"
    VALIDATING = "validating"
    ROUTING = "routing"
    CACHE_LOOKUP = "cache_lookup"
    LOADING_AGENT = "loading_agent"
    INFERENCING = "inferencing"
    FALLBACK = "fallback"
    SUCCESS = "success"
    ERROR = "error"
    CANCELLED = "cancelled"


class FaultKind(StrEnum):
    """What can be injected where faults are allowed."""

    FAIL = "fail"
    SLOW = "slow"
    HANG = "hang"
    OOM = "oom"
    KILL = "kill"


class RuntimeName(StrEnum):
    """The code that runs a variant."""

    LLAMACPP = "llamacpp"
    TRANSFORMERS = "transformers"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen and when to stop.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1, `min_p` 0 and
    `repetition_penalty` 1 switch their rule off; `seed` None draws a fresh one.
    """

    max_tokens: int = 512
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repetition_penalty: float = 1.1
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOverrides:
    """What the caller set; None leaves the agent's default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None

    def over(self, defaults: Sampling) -> Sampling:
        """`defaults` with what the caller set put in its place."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return Sampling(**{**asdict(defaults), **given})


def new_request_id() -> str:
    """A fresh id, unguessable: knowing it is what lets a caller cancel."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a caller asked for, as it came. Nothing in it has been checked.

    `client` is who asks, as the face knows it (a session, a user, an address); "" is nobody in
    particular, who has no share to exceed.
    """

    text: Any
    agent: Any = AUTO
    history: Any = None
    system_prompt: Any = None
    max_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    min_p: Any = None
    repetition_penalty: Any = None
    seed: Any = None
    stop: Any = None
    session: Any = None
    trim_history: Any = False
    keep_alive: Any = None
    deadline_s: Any = None
    client: str = ""
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidQuery:
    """A query that passed the input guardrails; only these go further.

    `agent` is `"auto"`, an agent id or a model id of the registry. `keep_alive_s` is how long
    its model stays when idle: negative for ever, 0 not at all, None as the server's settings say.
    """

    request_id: str
    text: str
    agent: str
    history: tuple[Message, ...]
    system_prompt: str | None
    overrides: SamplingOverrides
    session: str | None
    trim_history: bool
    keep_alive_s: float | None = None
    deadline_s: float | None = None
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which agent was chosen, how surely, and why. `confidence` is in [0, 1]."""

    agent: str
    confidence: float
    scores: dict[str, float]
    abstained: bool
    reason: str
    router: str
    latency_ms: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request. `cached_tokens` of the prompt came from the KV cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain values for JSON, with the sum."""
        return {**asdict(self), "total_tokens": self.prompt_tokens + self.completion_tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of one request went, in seconds, on a monotonic clock.

    `ttft_s` runs from admission to the first non-empty text handed to the caller
    and contains guard, route, failed, queue, load and prefill; None means no text came.
    `failed_s` went into agents that failed before the one that answered.
    `tpot_s` is the mean time per token after the first. `start` is `"cold"` when
    the request waited for a load and `"warm"` otherwise.
    """

    guard_s: float = 0.0
    route_s: float = 0.0
    failed_s: float = 0.0
    queue_s: float = 0.0
    load_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    ttft_s: float | None = None
    tpot_s: float | None = None
    tokens_per_s: float | None = None
    total_s: float = 0.0
    start: str = "warm"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One finished request. `text` is raw model text: sanitise it before showing it.

    `cached_age_s` is how long ago a `cached` answer was made; 0 where it was being made.
    """

    request_id: str
    text: str
    agent: str
    model: str
    runtime: str
    finish_reason: FinishReason
    route: Route
    timings: Timings
    usage: Usage
    states: tuple[str, ...]
    cached: bool = False
    cached_age_s: float | None = None
    fallback_from: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "request_id": self.request_id,
            "text": self.text,
            "agent": self.agent,
            "model": self.model,
            "runtime": self.runtime,
            "finish_reason": str(self.finish_reason),
            "route": self.route.as_dict(),
            "timings": self.timings.as_dict(),
            "usage": self.usage.as_dict(),
            "states": list(self.states),
            "cached": self.cached,
            "cached_age_s": self.cached_age_s,
            "fallback_from": self.fallback_from,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEvent:
    """The request entered `state`, `elapsed_s` after admission."""

    type: ClassVar[str] = "state"
    request_id: str
    state: RequestState
    elapsed_s: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"type": self.type, **asdict(self), "state": str(self.state)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEvent:
    """The agent is chosen; `model` and `runtime` are what will run."""

    type: ClassVar[str] = "route"
    request_id: str
    route: Route
    model: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "type": self.type,
            "request_id": self.request_id,
            "model": self.model,
            **self.route.as_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """Still waiting: sent at least every quarter of a second until text comes.

    `phase` is `queue`, `initializing`, `loading_shard`, `completing` or `prefill`;
    `ratio` in [0, 1] where known; `position` is the place in the queue, from 1, and `wait_s`
    the time until it runs, estimated from those before.
    """

    type: ClassVar[str] = "progress"
    request_id: str
    phase: str
    elapsed_s: float
    ratio: float | None = None
    position: int | None = None
    wait_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaEvent:
    """The next piece of text; pieces in order make the answer. `num_tokens` may exceed 1."""

    type: ClassVar[str] = "delta"
    request_id: str
    text: str
    num_tokens: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "type": self.type,
            "request_id": self.request_id,
            "text": self.text,
            "num_tokens": self.num_tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalEvent:
    """The request ended well (or was cancelled: see `answer.finish_reason`)."""

    type: ClassVar[str] = "final"
    request_id: str
    answer: Answer

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"type": self.type, **self.answer.as_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent:
    """The request failed. `text` is what had been delivered; it stays valid, as a part."""

    type: ClassVar[str] = "error"
    request_id: str
    error: OrionError
    text: str
    states: tuple[str, ...]
    timings: Timings

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; nothing of the inside beyond the public message."""
        return {
            "type": self.type,
            "request_id": self.request_id,
            "code": self.error.code,
            "message": self.error.public_message,
            "retryable": self.error.retryable,
            "retry_after_s": self.error.facts.get("retry_after_s"),
            "partial": bool(self.text),
            "text": self.text,
            "states": list(self.states),
            "timings": self.timings.as_dict(),
        }


Event = StateEvent | RouteEvent | ProgressEvent | DeltaEvent | FinalEvent | ErrorEvent
"""What `Engine.stream` yields; the last one is always a `FinalEvent` or an `ErrorEvent`."""

"""What parent and worker say to each other. Plain values only: a frame is data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Parent → worker: hold this model. Once in a worker's life.

    `variant` is the registry entry as plain values; `home` is where derived files
    (imported checkpoints, the hash memo) live. `kv_bytes` may be spent on attention states of
    conversations that pause. `begin` is a system prompt to have read when the load ends.
    `fault` names a `FaultKind` to act out.
    """

    model: str
    variant: dict[str, Any]
    home: str
    slots: int
    context_tokens: int
    threads: int
    kv_bytes: int = 0
    begin: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Parent → worker: answer this conversation.

    `messages` are `[role, content]` pairs with roles of `orion.types.Role`;
    `sampling` are the fields of `orion.types.Sampling`. Attention states are reused only within
    a `session`, an opaque key; "" shares with nobody. The first `shared_messages` hold nobody's
    words (an agent's own prompt): states of those serve every session. At `deadline_s`, a stamp
    of the machine's monotonic clock, the worker ends the answer by itself.
    """

    request_id: str
    messages: list[list[str]]
    sampling: dict[str, Any]
    trim_history: bool = False
    session: str = ""
    shared_messages: int = 0
    interval_s: float = 0.03
    deadline_s: float | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Parent → worker: end this answer at the next token."""

    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """Parent → worker: end the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Worker → parent: imports are done, `Load` may come."""

    pid: int
    runtime: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """Worker → parent: a load moves. `ratio` in [0, 1] where known."""

    phase: str
    ratio: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Worker → parent: the model answers now.

    `memory_bytes` is the resident set of the worker after the load; `details` is
    free-form and shown in `stats()`.
    """

    model: str
    slots: int
    context_tokens: int
    memory_bytes: int
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailed:
    """Worker → parent: it does not; the worker ends itself. `detail` is for the log."""

    model: str
    code: str
    facts: dict[str, Any]
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Worker → parent: the prompt is built and fits; prefill begins."""

    request_id: str
    prompt_tokens: int
    trimmed_messages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilling:
    """Worker → parent: so many of the prompt's tokens are read. May never come."""

    request_id: str
    read_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Worker → parent: the next piece of text. `seq` counts pieces from 0."""

    request_id: str
    seq: int
    text: str
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Worker → parent: the answer ended. Times in seconds, measured in the worker."""

    request_id: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Worker → parent: the answer failed; the worker lives. `detail` is for the log."""

    request_id: str
    code: str
    facts: dict[str, Any]
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Worker → parent, at a steady pace: alive, this big, this many tokens so far."""

    rss_bytes: int
    num_tokens: int
    active: int


Frame = (
    Load
    | Generate
    | Stop
    | Exit
    | Ready
    | LoadProgress
    | Loaded
    | LoadFailed
    | Started
    | Prefilling
    | Delta
    | Done
    | Failed
    | Heartbeat
)

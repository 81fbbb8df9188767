"""The seam every runtime fills: load one model, then answer conversations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from orion.types import FinishReason, Message, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """What to load and how much room to give it.

    `variant` is the registry's variant as plain values. `slots` answers may run at
    once, each with `context_tokens` of its own; `home` holds derived files. `kv_bytes` may be
    spent on attention states beyond those of the slots. `begin` is the system prompt that the
    first conversation will probably have; it may be read at once.
    """

    model: str
    variant: dict[str, Any]
    home: Path
    slots: int
    context_tokens: int
    threads: int
    kv_bytes: int = 0
    begin: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What came of a load: how many answers at once, with what context."""

    slots: int
    context_tokens: int
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One conversation to answer.

    What was computed for it may be gone on from within its `session` only, "" never; but the
    first `shared_messages` hold nobody's words, and their states serve everybody.
    """

    request_id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    trim_history: bool
    session: str = ""
    shared_messages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """How an answer ended, counted and timed where it happened."""

    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    prefill_s: float
    decode_s: float


class Output(Protocol):
    """Where a runtime puts an answer while it makes it; one thread at a time calls it."""

    def started(self, *, prompt_tokens: int, trimmed_messages: int) -> None:
        """The prompt is built and fits; call once, before prefill."""

    def prefilling(self, read_tokens: int, prompt_tokens: int) -> None:
        """So much of the prompt is read; call as often as it is known, or never."""

    def piece(self, text: str, num_tokens: int) -> None:
        """More text and the number of tokens behind it; text may be empty."""

    @property
    def stopped(self) -> bool:
        """Whether the caller wants no more, or its time is over.

        Cheap: read it after every token, and during prefill as often as can be.
        """


Progress = Callable[[str, float | None], None]
"""Called with a phase (`initializing`, `importing`, `verifying`, `loading_shard`,
`completing`) and a ratio in [0, 1] or None."""


class Runtime(Protocol):
    """One model in one process.

    The class is made without arguments in the child. `warm_up` and `load` are called
    once each, in this order; `generate` afterwards, from up to `slots` threads.
    """

    name: str

    def warm_up(self) -> None:
        """Import what a load needs, so that a spare worker has it done."""

    def load(self, spec: LoadSpec, progress: Progress) -> LoadedModel:
        """Make the model answer.

        Raises:
            OrionError: Any of the `AgentLoadError` family, or `HomeNotWritableError`.
        """

    def generate(self, job: Job, output: Output) -> Generated:
        """Answer `job` into `output`, until its end, its limit or `output.stopped`.

        Raises:
            ContextTooLongError: The prompt does not fit and may not be trimmed.
            GenerationError: The model failed, or memory ran out.
        """

    def close(self) -> None:
        """Let go of everything that outlives the process."""

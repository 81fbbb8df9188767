"""The tiny random model loaded by the transformers runtime, and ways to talk to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orion.runtime.base import Generated, Job, LoadedModel, LoadSpec
from orion.runtime.transformers import TransformersRuntime
from orion.types import Message, Role, Sampling
from tests.fakes.tiny_gguf import hub_folder, hub_variant, write_tiny_gguf

GREEDY = Sampling(max_tokens=24, temperature=0, repetition_penalty=1.0)
DERIVED = {
    "id": "nf4",
    "runtime": "transformers",
    "format": "safetensors",
    "precision": "nf4",
    "bits_per_weight": 6.0,
    "source": {"kind": "import", "variant": "source"},
}


class Recorder:
    """An output that keeps everything, and asks to stop after `limit` tokens."""

    def __init__(self, limit: int | None = None) -> None:
        self.pieces: list[tuple[str, int]] = []
        self.starts: list[tuple[int, int]] = []
        self.read: list[tuple[int, int]] = []
        self.limit = limit

    def started(self, *, prompt_tokens: int, trimmed_messages: int) -> None:
        self.starts.append((prompt_tokens, trimmed_messages))

    def prefilling(self, read_tokens: int, prompt_tokens: int) -> None:
        self.read.append((read_tokens, prompt_tokens))

    def piece(self, text: str, num_tokens: int) -> None:
        self.pieces.append((text, num_tokens))

    @property
    def stopped(self) -> bool:
        return self.limit is not None and self.num_tokens >= self.limit

    @property
    def num_tokens(self) -> int:
        return sum(count for _, count in self.pieces)

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)


class Phases:
    """Progress as it was reported."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float | None]] = []

    def __call__(self, phase: str, ratio: float | None) -> None:
        self.seen.append((phase, ratio))

    @property
    def order(self) -> list[str]:
        return list(dict.fromkeys(phase for phase, _ in self.seen))


def spec_for(home: Path, variant: dict[str, Any], **options: Any) -> LoadSpec:
    return LoadSpec(
        model="tiny",
        variant=variant,
        home=home,
        slots=4,
        context_tokens=200,
        threads=2,
        kv_bytes=1 << 24,
        options=options,
    )


def say(
    runtime: TransformersRuntime,
    *contents: str,
    sampling: Sampling = GREEDY,
    output: Recorder | None = None,
    trim: bool = False,
    session: str = "",
) -> tuple[Recorder, Generated]:
    output = output or Recorder()
    roles = (Role.USER, Role.ASSISTANT)
    messages = tuple(Message(role=roles[i % 2], content=c) for i, c in enumerate(contents))
    job = Job(
        request_id="r",
        messages=messages,
        sampling=sampling,
        trim_history=trim,
        session=session,
    )
    return output, runtime.generate(job, output)


def options_of(given: Sampling = GREEDY, **changed: Any) -> Sampling:
    return Sampling(**{name: getattr(given, name) for name in given.__slots__} | changed)


class Tiny:
    """A home with the tiny GGUF in it, and a runtime that has loaded it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        hub_folder(home).mkdir(parents=True)
        self.gguf = write_tiny_gguf(hub_folder(home) / "tiny.gguf")
        self.source = hub_variant(hub_folder(home))
        self.runtime = TransformersRuntime()
        self.runtime.warm_up()
        self.phases = Phases()
        self.loaded = self.load(self.runtime, self.phases)

    def load(self, runtime: TransformersRuntime, phases: Phases) -> LoadedModel:
        return runtime.load(spec_for(self.home, DERIVED, import_from=self.source), phases)

    @property
    def folders(self) -> list[Path]:
        """The plain import and the 4-bit one."""
        return sorted((self.home / "models" / "tiny" / "nf4").iterdir())

"""What is measured: the embedded model as this installation would serve it."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.process import BenchmarkError, Bystanders, Child
from orion.errors import OrionError
from orion.placement import probe_machine
from orion.registry import load_registry, locate
from orion.settings import Settings
from orion.types import RuntimeName

if TYPE_CHECKING:
    from pathlib import Path

    from orion.registry import Registry

MODEL = "smollm2-135m-instruct"
CHAT_AGENT = "conversation-agent"
STORY_AGENT = "creative-agent"
_IMPORT_LIMIT_S = 600.0
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model file and the numbers the product would run it with."""

    settings: Settings
    registry: Registry
    gguf: Path
    threads: int
    context_tokens: int

    def messages(self, agent: str, text: str) -> list[list[str]]:
        """What the product makes of `text` for `agent`: `[role, text]` pairs."""
        return [["system", self.registry.agent(agent).system_prompt], ["user", text]]

    def sampling(self, agent: str, *, max_tokens: int) -> dict[str, Any]:
        """The agent's sampling, made greedy so that both sides write the same text."""
        own = asdict(self.registry.agent(agent).sampling.sampling())
        return {**own, "max_tokens": max_tokens, "temperature": 0.0}

    def body(self, agent: str, text: str, *, max_tokens: int) -> dict[str, Any]:
        """The same request for `/v1`."""
        return {
            "model": agent,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }

    def raw_spec(self) -> dict[str, Any]:
        """What `benchmarks.raw_llamacpp` is told."""
        return {
            "path": str(self.gguf),
            "threads": self.threads,
            "context_tokens": self.context_tokens,
        }

    def checkpoint(self) -> Path:
        """The weights as safetensors, imported on first use and kept under ORION_HOME.

        Raises:
            BenchmarkError: The import failed.
        """
        out = self.settings.home / "benchmarks" / f"{MODEL}-imported"
        if not (out / "config.json").is_file():
            say("importing the weights for the naive script (once)")
            with Child("-m", "orion", "import-gguf", str(self.gguf), str(out)) as importing:
                importing.finished_s(_IMPORT_LIMIT_S)
        return out


def find_subject() -> Subject:
    """The embedded model with this installation's settings.

    Raises:
        BenchmarkError: It is not here.
    """
    settings = Settings()
    try:
        registry = load_registry(settings.registry)
        model = registry.model(MODEL)
        variant = next(v for v in model.variants if v.runtime is RuntimeName.LLAMACPP)
        gguf = locate(settings.home, MODEL, variant)[variant.files[0].path]
    except OrionError as error:
        raise BenchmarkError(error.public_message) from error
    return Subject(
        settings=settings,
        registry=registry,
        gguf=gguf,
        threads=settings.worker.threads or probe_machine(settings.home).cores,
        context_tokens=min(settings.worker.context_tokens, model.context_tokens),
    )


def describe_machine(subject: Subject) -> dict[str, Any]:
    """The hardware in general words, and whether anything else runs on it."""
    machine = probe_machine(subject.settings.home)
    return {
        "system": machine.system,
        "python": machine.python,
        "cores": machine.cores,
        "instruction_sets": list(machine.instruction_sets),
        "memory_total_bytes": machine.memory_total_bytes,
        "threads": subject.threads,
        "bystander_cores": round(_bystander_cores(), 2),
    }


def _bystander_cores() -> float:
    bystanders = Bystanders()
    time.sleep(_LOOK_S)
    return bystanders.cores()


def say(text: str) -> None:
    """How far it is, on standard error."""
    print(f"bench: {text}", file=sys.stderr, flush=True)

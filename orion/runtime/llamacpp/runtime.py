"""GGUF files through llama.cpp (xllamacpp): CPU first, several answers at once in slots."""

from __future__ import annotations

import contextlib
import importlib
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orion.errors import OrionError
from orion.runtime.base import LoadedModel
from orion.runtime.completion import Completion
from orion.runtime.gguf_header import read_header
from orion.runtime.llamacpp.port import LlamaTokenizer
from orion.runtime.llamacpp.reuse import SlotReuse
from orion.runtime.llamacpp.server import (
    chat_template,
    prefill_slice,
    read_ahead,
    start_server,
    verified_file,
)
from orion.runtime.llamacpp.vault import Vault, can_keep_states
from orion.runtime.prompt import PromptBuilder
from orion.settings import yield_between_kernels
from orion.types import Message, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orion.runtime.base import Generated, Job, LoadSpec, Output, Progress
    from orion.runtime.llamacpp.reuse import Lease


class LlamaCppRuntime:
    """One GGUF model in an in-process llama.cpp server."""

    name = "llamacpp"

    def __init__(self) -> None:
        self._server: Any = None
        self._prompts: PromptBuilder | None = None
        self._reuse: SlotReuse | None = None
        self._context_tokens = 0

    def warm_up(self) -> None:
        """Import the library and the template engine."""
        yield_between_kernels()
        for name in ("jinja2.sandbox", "xllamacpp"):
            importlib.import_module(name)

    def load(self, spec: LoadSpec, progress: Progress) -> LoadedModel:
        """Check the file, map it, and build the prompt machinery around it.

        Raises:
            WeightsMissingError: The file is not here.
            BadWeightsError: It is not the file the registry names.
            AgentLoadError: llama.cpp refuses it.
        """
        path = verified_file(spec, progress)
        progress("initializing", None)
        header = read_header(path)
        key = secrets.token_hex(32)
        context_tokens = min(
            spec.context_tokens, int(header.scalars.get("llama.context_length", 1 << 30))
        )
        read_ahead(path, lambda ratio: progress("loading_shard", ratio))
        self._server = start_server(path, spec, context_tokens, key)
        progress("completing", 1.0)
        self._context_tokens = context_tokens
        tokenizer = LlamaTokenizer(
            self._server.listening_address, key, frozenset(header.special_tokens)
        )
        self._prompts = PromptBuilder(chat_template(spec.model, header), tokenizer)
        self._reuse = SlotReuse(
            spec.slots,
            max_bytes=spec.kv_bytes,
            vault=Vault(tokenizer.port) if can_keep_states() else None,
            read=self._read,
        )
        if spec.begin:
            self._begin(spec.begin)
        return LoadedModel(
            slots=spec.slots,
            context_tokens=context_tokens,
            details={
                "threads": spec.threads,
                "file_bytes": path.stat().st_size,
                "slice_tokens": prefill_slice(path.stat().st_size, spec.threads),
            },
        )

    def generate(self, job: Job, output: Output) -> Generated:
        """Answer one conversation in a slot."""
        assert self._prompts
        assert self._reuse
        prompt = self._prompts.build(
            job.messages,
            context_tokens=self._context_tokens,
            max_tokens=job.sampling.max_tokens,
            trim_history=job.trim_history,
            shared_messages=job.shared_messages,
        )
        output.started(prompt_tokens=len(prompt.ids), trimmed_messages=prompt.trimmed_messages)
        completion = Completion(output, prompt_tokens=len(prompt.ids))
        read_tokens = 0
        with self._reuse.lease(
            job.session,
            prompt.ids,
            shared_tokens=prompt.shared_tokens,
            # A prompt found in the cache may round differently from one computed in one batch;
            # a seed asks for the same answer again, so nothing is taken over.
            anew=job.sampling.seed is not None,
            is_stopped=lambda: output.stopped,
        ) as lease:
            if lease and not output.stopped:
                lease.is_used, read_tokens = True, lease.read_tokens
                self._server.handle_completions(
                    _parameters(job, prompt.ids, lease, self._context_tokens), completion.on_chunk
                )
            made = completion.generated()
            time.sleep(completion.settle_s)
        return replace(made, cached_tokens=max(0, made.cached_tokens - read_tokens))

    def close(self) -> None:
        """Nothing outlives the process."""

    def _begin(self, system_prompt: str) -> None:
        """Read what the first conversation with an agent will begin with, and keep it."""
        assert self._prompts
        assert self._reuse
        turns = [
            Message(role=Role.SYSTEM, content=system_prompt),
            Message(role=Role.USER, content="x"),
        ]
        with contextlib.suppress(OrionError):  # then it is read when it is asked for
            prompt = self._prompts.build(
                turns, context_tokens=self._context_tokens, max_tokens=1, shared_messages=1
            )
            with self._reuse.lease(
                "",
                prompt.ids,
                shared_tokens=prompt.shared_tokens,
                anew=False,
                is_stopped=lambda: False,
            ):
                pass

    def _read(self, slot: int, ids: Sequence[int], is_stopped: Callable[[], bool]) -> bool:
        failed = False

        def on_chunk(chunk: dict[str, Any]) -> bool:
            nonlocal failed
            failed = failed or "error" in chunk or is_stopped()
            return failed

        parameters = {
            "prompt": list(ids),
            "id_slot": slot,
            "cache_prompt": False,
            "n_predict": 0,
            "stream": True,
            "return_progress": True,
        }
        self._server.handle_completions(parameters, on_chunk)
        return not failed


def _parameters(job: Job, ids: list[int], lease: Lease, context_tokens: int) -> dict[str, Any]:
    sampling = job.sampling
    made: dict[str, Any] = {
        "prompt": ids,
        "id_slot": lease.slot,
        "cache_prompt": lease.is_warm,
        "stream": True,
        "return_progress": True,  # one chunk per slice of prefill: where a stop can be heard
        "n_predict": min(sampling.max_tokens, context_tokens - len(ids)),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
    }
    if sampling.seed is not None:
        made["seed"] = sampling.seed
    return made

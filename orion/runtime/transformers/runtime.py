"""One safetensors model through transformers: NF4 by bitsandbytes, placed by accelerate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.errors import AgentLoadError, GenerationError, OrionError
from orion.runtime.base import LoadedModel
from orion.runtime.failure import is_out_of_memory
from orion.runtime.prompt import PromptBuilder
from orion.runtime.transformers.caching import PassageStore
from orion.runtime.transformers.checkpoint import find_checkpoint
from orion.runtime.transformers.loading import (
    chosen_dtype,
    ending_ids,
    first_forward,
    import_libraries,
    load_model,
)
from orion.runtime.transformers.tokenizer import CheckpointTokenizer

if TYPE_CHECKING:
    from orion.runtime.base import Generated, Job, LoadSpec, Output, Progress
    from orion.runtime.transformers.batching import Batch


class TransformersRuntime:
    """Answers several conversations at once, where the model lets them share its passes.

    `options` of a load: `import_from` (the variant a derived one is made from) and
    `device_map` (accelerate's, with one device: `{"": "cpu"}` or `{"": 0}`).
    """

    name = "transformers"

    def __init__(self) -> None:
        self._model: Any = None
        self._tokenizer: CheckpointTokenizer | None = None
        self._prompts: PromptBuilder | None = None
        self._passages: PassageStore | None = None
        self._ending_ids: frozenset[int] = frozenset()
        self._context_tokens = 0
        self._batch: Batch | None = None

    def warm_up(self) -> None:
        """Import everything a load needs: four to seven seconds on two cores."""
        import_libraries()

    def load(self, spec: LoadSpec, progress: Progress) -> LoadedModel:
        """Find or make the checkpoint, check it, and bring it into memory.

        Raises:
            WeightsMissingError: A file is not here.
            BadWeightsError: A file is not the one that is named, or wants to run code.
            AgentLoadError: The import or the load failed, or memory is short.
            HomeNotWritableError: The import cannot be stored.
        """
        import torch

        torch.set_num_threads(spec.threads)
        try:
            return self._load(spec, progress)
        except OrionError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise AgentLoadError(model=spec.model, reason="not enough memory") from error
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise AgentLoadError(model=spec.model, reason=reason) from error

    def _load(self, spec: LoadSpec, progress: Progress) -> LoadedModel:
        from orion.runtime.transformers.batching import Batch, shares_passes

        device_map: dict[str, Any] = spec.options.get("device_map") or {"": "cpu"}
        dtype = chosen_dtype(next(iter(device_map.values())))
        checkpoint = find_checkpoint(spec, progress, dtype=dtype)
        progress("initializing", None)
        tokenizer = CheckpointTokenizer(checkpoint.folder, model=spec.model)
        progress("loading_shard", 0.0)
        model = load_model(
            checkpoint.folder,
            dtype=dtype,
            quantize=checkpoint.quantize,
            device_map=device_map,
            report=lambda ratio: progress("loading_shard", ratio),
        )
        progress("completing", None)
        first_forward(model)
        known = getattr(model.config, "max_position_embeddings", None) or spec.context_tokens
        self._context_tokens = min(spec.context_tokens, int(known))
        self._model, self._tokenizer = model, tokenizer
        self._passages = PassageStore(model, spec.kv_bytes)
        self._prompts = PromptBuilder(tokenizer.template, tokenizer)
        self._ending_ids = tokenizer.ending_ids | ending_ids(model)
        slots = spec.slots if shares_passes(model, self._passages) else 1
        self._batch = Batch(
            model,
            self._passages,
            ending_ids=lambda: self._ending_ids,
            decode=tokenizer.decode,
            context_tokens=self._context_tokens,
            max_rows=slots,
        )
        progress("completing", 1.0)
        return LoadedModel(
            slots=slots,
            context_tokens=self._context_tokens,
            details={
                "threads": spec.threads,
                "dtype": dtype,
                "device": str(model.device),
                "weights_bytes": int(model.get_memory_footprint()),
            },
        )

    def generate(self, job: Job, output: Output) -> Generated:
        """Answer one conversation.

        Raises:
            ContextTooLongError: The prompt does not fit and may not be trimmed.
            GenerationError: The model failed, or none is loaded.
        """
        if self._batch is None or self._prompts is None:
            raise GenerationError(reason="no model is loaded")
        prompt = self._prompts.build(
            job.messages,
            context_tokens=self._context_tokens,
            max_tokens=job.sampling.max_tokens,
            trim_history=job.trim_history,
            shared_messages=job.shared_messages,
        )
        output.started(prompt_tokens=len(prompt.ids), trimmed_messages=prompt.trimmed_messages)
        return self._batch.answer(job, prompt, output)

    def close(self) -> None:
        """Let go of the weights; in a child the end of the process does it."""
        if self._batch:
            self._batch.close()
        self._model = self._batch = self._prompts = self._tokenizer = self._passages = None

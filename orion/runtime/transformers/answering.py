"""One answer by itself: `generate` of transformers, followed token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.errors import GenerationError, OrionError, OutOfMemoryError
from orion.runtime.failure import is_out_of_memory
from orion.runtime.transformers.sampling import configuration, refuse_no_numbers

if TYPE_CHECKING:
    from orion.runtime.base import Output
    from orion.runtime.transformers.caching import Passage
    from orion.runtime.transformers.interrupt import LayerWatch
    from orion.runtime.transformers.stream import AnswerStream
    from orion.types import Sampling

_SEED_BITS = (1 << 63) - 1


def answer_alone(
    model: Any,
    passage: Passage,
    sampling: Sampling,
    stream: AnswerStream,
    *,
    watch: LayerWatch,
    max_tokens: int,
    ending_ids: frozenset[int],
    output: Output,
) -> None:
    """Continue `passage` into `stream`; its cache and its ids grow with the answer.

    Draws from torch's own generator: nothing else may draw meanwhile.

    Raises:
        OrionError: The numbers are not finite.
        Exception: Whatever the model fails with; `told` makes it ours.
    """
    import torch

    if output.stopped:
        return
    if sampling.seed is None:
        torch.seed()
    else:
        torch.manual_seed(sampling.seed & _SEED_BITS)
    ids = torch.tensor([passage.ids], device=model.device)  # [1, T]
    with watch.over(output, read_tokens=passage.cached_tokens):
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=passage.cache,
            generation_config=configuration(sampling, max_tokens=max_tokens, ending_ids=ending_ids),
            logits_processor=[refuse_no_numbers],
            stopping_criteria=[stream.is_done],
            streamer=stream,
        )


def told(error: BaseException) -> OrionError:
    """What a caller is told of `error`: nothing of the inside of a library."""
    if isinstance(error, OrionError):
        return error
    if is_out_of_memory(error):
        return OutOfMemoryError(reason="there is not enough memory for this answer")
    return GenerationError(reason=f"{type(error).__name__} inside the model")

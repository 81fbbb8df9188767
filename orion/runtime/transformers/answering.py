"""One answer: `generate` of transformers, followed token by token."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from orion.errors import GenerationError, OrionError, OutOfMemoryError
from orion.runtime.base import Generated
from orion.runtime.failure import is_out_of_memory
from orion.runtime.text_stream import TextStream
from orion.types import FinishReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.runtime.base import Output
    from orion.runtime.transformers.caching import Passage
    from orion.runtime.transformers.interrupt import LayerWatch
    from orion.types import Sampling

_SEED_BITS = (1 << 63) - 1


def answer(
    model: Any,
    passage: Passage,
    sampling: Sampling,
    *,
    watch: LayerWatch,
    ending_ids: frozenset[int],
    decode: Callable[[list[int]], str],
    context_tokens: int,
    output: Output,
) -> Generated:
    """Continue `passage` into `output`; its cache and its ids grow with the answer.

    Raises:
        OutOfMemoryError: Memory ran out.
        GenerationError: The numbers are not finite, or the model failed.
    """
    import torch

    stream = _Stream(output, TextStream(decode, sampling.stop), ending_ids, passage)
    seed = sampling.seed
    try:
        if seed is None:
            torch.seed()
        else:
            torch.manual_seed(seed & _SEED_BITS)
        if not output.stopped:
            ids = torch.tensor([passage.ids], device=model.device)  # [1, T]
            with watch.over(output, read_tokens=passage.cached_tokens):
                model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    past_key_values=passage.cache,
                    generation_config=_configuration(
                        sampling,
                        max_tokens=min(sampling.max_tokens, context_tokens - passage.prompt_tokens),
                        ending_ids=ending_ids,
                    ),
                    logits_processor=[_refuse_no_numbers],
                    stopping_criteria=[stream.is_done],
                    streamer=stream,
                )
    except OrionError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(reason="there is not enough memory for this answer") from error
        reason = f"{type(error).__name__} inside the model"
        raise GenerationError(reason=reason) from error
    return stream.generated()


def _configuration(sampling: Sampling, *, max_tokens: int, ending_ids: frozenset[int]) -> Any:
    """Only what was asked for; rules that are switched off are left out."""
    from transformers import GenerationConfig

    ends = sorted(ending_ids)
    chosen: dict[str, Any] = {
        "max_new_tokens": max_tokens,
        "eos_token_id": ends or None,
        "pad_token_id": ends[0] if ends else 0,
        "repetition_penalty": sampling.repetition_penalty,
        "do_sample": sampling.temperature > 0,
    }
    if sampling.temperature > 0:
        chosen |= {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p or None,
        }
    return GenerationConfig(**chosen)


def _refuse_no_numbers(_input_ids: Any, scores: Any) -> Any:
    """A logits processor that lets scores through as they are, or not at all.

    The maximum is no number where any score is none, and infinite where no choice is left.
    """
    if not bool(scores.max().isfinite()):
        raise GenerationError(reason="the model produced values that are no numbers")
    return scores


class _Stream:
    """Takes each id as it is chosen, hands on its text, and says when to end.

    transformers calls `put` first with the prompt, then with each id, and asks
    `is_done` after each. Runs in the job's thread.
    """

    def __init__(
        self, output: Output, text: TextStream, ending_ids: frozenset[int], passage: Passage
    ) -> None:
        self._passage = passage
        self._output = output
        self._text = text
        self._ending_ids = ending_ids
        self._prompt_seen = False
        self._begun_s = time.monotonic()
        self._first_s: float | None = None
        self._num_tokens = 0
        self._finish: FinishReason | None = None

    def put(self, ids: Any) -> None:
        """The prompt, then each chosen id `[1]`."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        if self._first_s is None:
            self._first_s = time.monotonic()
        token = int(ids[0])
        self._passage.ids.append(token)
        if self._output.stopped:
            self._finish = FinishReason.CANCELLED
        elif token in self._ending_ids:
            self._finish = FinishReason.STOP
        else:
            self._num_tokens += 1
            self._output.piece(self._text.push(token), 1)
            if self._text.stopped:
                self._finish = FinishReason.STOP

    def end(self) -> None:
        """Called by transformers after the last id; what is left is told in `generated`."""

    def is_done(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
        """The stopping criterion: a bool per row of the batch, `[1]`."""
        import torch

        done = self._finish is not None or self._output.stopped
        return torch.full((input_ids.shape[0],), done, dtype=torch.bool, device=input_ids.device)

    def generated(self) -> Generated:
        """Hand on the rest of the text and count up."""
        ended_s = time.monotonic()
        if self._finish is None:
            stopped = self._output.stopped
            self._finish = FinishReason.CANCELLED if stopped else FinishReason.LENGTH
        if self._finish is not FinishReason.CANCELLED and (rest := self._text.finish()):
            self._output.piece(rest, 0)
        if self._text.stopped:
            self._finish = FinishReason.STOP
        first_s = ended_s if self._first_s is None else self._first_s
        return Generated(
            finish_reason=self._finish,
            prompt_tokens=self._passage.prompt_tokens,
            cached_tokens=self._passage.cached_tokens,
            completion_tokens=self._num_tokens,
            prefill_s=first_s - self._begun_s,
            decode_s=ended_s - first_s,
        )

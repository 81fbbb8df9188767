"""Scores of the next token → the token, by the rules that `generate` of transformers has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orion.types import Sampling


def configuration(sampling: Sampling, *, max_tokens: int, ending_ids: frozenset[int]) -> Any:
    """For `generate`: only what was asked for; rules that are switched off are left out."""
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


def refuse_no_numbers(_input_ids: Any, scores: Any) -> Any:
    """A logits processor that lets scores through as they are, or not at all.

    The maximum is no number where any score is none, and infinite where no choice is left.
    """
    if not bool(scores.max().isfinite()):
        raise GenerationError(reason="the model produced values that are no numbers")
    return scores


class Chooser:
    """Chooses the tokens of one answer, whatever its neighbours in a batch ask for.

    The rules are those of `generate`, in its order. Each answer draws from a generator of
    its own, seeded by the system.

    Args:
        sampling: What the answer asked for.
        prompt_ids: What a repetition penalty looks at, together with what is chosen.
        max_tokens: Of the answer.
        device: Where the scores are.
    """

    def __init__(
        self, sampling: Sampling, prompt_ids: Sequence[int], *, max_tokens: int, device: Any
    ) -> None:
        import torch

        self._num_ids = len(prompt_ids)
        self._ids = torch.empty((1, self._num_ids + max_tokens), dtype=torch.long, device=device)
        self._ids[0, : self._num_ids] = torch.tensor(prompt_ids, device=device)
        self._rules = _rules(sampling)
        self._warpers = _warpers(sampling)
        self._top_k = sampling.top_k
        self._generator: Any = None
        if sampling.temperature > 0:
            self._generator = torch.Generator(device=device)
            self._generator.seed()

    def choose(self, logits: Any) -> int:
        """The next id, by scores `[V]` in float32.

        Raises:
            GenerationError: They are no numbers.
        """
        import torch

        scores = logits[None]
        for rule in self._rules:
            scores = rule(self._ids[:, : self._num_ids], scores)
        if self._generator is None:
            token = int(scores.argmax(dim=-1))
        else:
            places, scores = _top(scores, self._top_k)
            for warper in self._warpers:
                scores = warper(None, scores)
            drawn = int(torch.multinomial(scores.softmax(dim=-1), 1, generator=self._generator))
            token = int(places[drawn]) if places is not None else drawn
        if self._num_ids < self._ids.shape[1]:
            self._ids[0, self._num_ids] = token
            self._num_ids += 1
        return token


def _rules(sampling: Sampling) -> list[Any]:
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    if sampling.repetition_penalty == 1.0:
        return [refuse_no_numbers]
    return [RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty), refuse_no_numbers]


def _warpers(sampling: Sampling) -> list[Any]:
    """What comes after top_k; temperature changes no order, so it may come here too."""
    from transformers.generation import logits_process as rules

    chosen: list[Any] = []
    if sampling.temperature not in (0, 1):
        chosen.append(rules.TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_p < 1.0:
        chosen.append(rules.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        chosen.append(rules.MinPLogitsWarper(sampling.min_p))
    return chosen


def _top(scores: Any, top_k: int) -> tuple[Any, Any]:
    """The ids of the highest scores `[K]` and these `[1, K]`; None and all where k is 0.

    Ties with the last stay in, as with transformers' own warper, which keeps the width of the
    vocabulary: sorting all of that for top_p costs each row 3 ms.
    """
    if not 0 < top_k < scores.shape[-1]:
        return None, scores
    least = scores.topk(top_k).values[0, -1]
    places = (scores[0] >= least).nonzero()[:, 0]
    return places, scores[:, places]

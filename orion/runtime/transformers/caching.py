"""Keys and values of conversations, kept from one turn to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orion.runtime.states import SHARED_MIN_TOKENS, Kept, StateStore, common_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orion.runtime.base import Job
    from orion.runtime.prompt import Prompt

Layers = list[tuple[Any, Any]]
"""Keys and values of each layer, `[1, H, T, D]` both; never written to."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the `layers` hold: `ids`, of a prompt and of the answer to it."""

    ids: tuple[int, ...]
    layers: Layers


@dataclass(slots=True, kw_only=True)
class Passage:
    """What one answer is computed in.

    `cache` is transformers' own, filled with the first `cached_tokens` of the prompt, or None
    where this model's cannot be cut back. `ids` are the prompt and then what was chosen.
    """

    ids: list[int]
    cache: Any = None
    cached_tokens: int = 0
    is_kept: bool = False
    prompt_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.ids)

    @property
    def layers(self) -> Layers:
        """What the cache holds."""
        return [(layer.keys, layer.values) for layer in self.cache.layers] if self.cache else []


class PassageStore:
    """Opens a passage where the same session's last one can be gone on from.

    One answer at a time. What an agent begins all of its conversations with is kept once,
    for everybody.

    Args:
        model: Decides what kind of cache there is.
        max_bytes: For all states together, measured; 0 keeps none.
    """

    def __init__(self, model: Any, max_bytes: int) -> None:
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        layers = DynamicCache(config=model.config).layers
        self.can_be_cut = all(type(layer) is DynamicLayer for layer in layers)
        self._num_layers = len(layers)
        self._store: StateStore[Written] = StateStore(max_bytes, lambda _written: None)

    def open(self, prompt: Prompt, job: Job) -> Passage:
        """The passage for `prompt`; with a seed nothing is taken over.

        Numbers taken over may be rounded differently from those computed in one batch, and a
        seed asks for the same answer again.
        """
        passage = Passage(ids=list(prompt.ids))
        if not self.can_be_cut:
            return passage
        passage.is_kept = self._store.has_room(1)
        if not passage.is_kept:
            passage.cache = _cache_of([], 0)
            return passage
        written: Written | None = None
        if job.session:
            written = self._own(prompt, job.session)
        if job.sampling.seed is not None:
            written = None
        elif written is None:
            written = self._shared(prompt)
        layers: Layers = []
        if written:
            same = common_prefix(written.ids, prompt.ids)
            passage.cached_tokens = min(same, len(prompt.ids) - 1)
            layers = written.layers
        passage.cache = _cache_of(layers, passage.cached_tokens)
        return passage

    def close(self, passage: Passage, prompt: Prompt, job: Job, layers: Layers) -> None:
        """Keep what was computed, however the answer ended: each layer knows how far it came."""
        if not passage.is_kept:
            return
        # A pass that was interrupted reached some layers only; a first one made only those.
        if len(layers) < self._num_layers:
            return
        tokens = min((keys.shape[-2] for keys, _ in layers), default=0)
        shared = prompt.ids[: prompt.shared_tokens]
        if tokens >= len(shared) >= SHARED_MIN_TOKENS and not self._shared(prompt):
            self._put(None, shared, _written(shared, layers))
        if job.session and tokens:
            self._put(job.session, prompt.ids, _written(passage.ids[:tokens], layers))

    def clear(self) -> None:
        """Let go of all, where memory is short."""
        self._store.clear()

    def _own(self, prompt: Prompt, session: str) -> Written | None:
        kept = self._store.take(session, prompt.ids, shared_tokens=prompt.shared_tokens)
        return kept.state if kept else None

    def _shared(self, prompt: Prompt) -> Written | None:
        kept = self._store.borrow(prompt.ids[: prompt.shared_tokens])
        if kept is None:
            return None
        self._store.give_back(kept)
        return kept.state

    def _put(self, session: str | None, ids: Sequence[int], written: Written) -> None:
        parts = [part for pair in written.layers for part in pair]
        size = sum(part.untyped_storage().nbytes() for part in parts)
        self._store.put(Kept(session=session, ids=tuple(ids), state=written, size_bytes=size))


def _written(ids: Sequence[int], layers: Layers) -> Written:
    """The first `ids` of `layers`; copied, for a part of a tensor keeps the whole in memory."""
    tokens = len(ids)
    cut = [
        (keys, values)
        if keys.shape[-2] == tokens
        else (keys[..., :tokens, :].clone(), values[..., :tokens, :].clone())
        for keys, values in layers
    ]
    return Written(tuple(ids), cut)


def _cache_of(layers: Layers, tokens: int) -> Any:
    """A cache that holds the first `tokens` of `layers`."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for index, (keys, values) in enumerate(layers if tokens else ()):
        cache.update(keys[..., :tokens, :], values[..., :tokens, :], index)
    return cache

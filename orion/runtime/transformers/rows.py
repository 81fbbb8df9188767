"""Attention states of several answers in one cache, so that they share a forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orion.runtime.transformers.caching import Layers

_SPARE_TOKENS = 128


class RowCache:
    """Rows of different length, each from the first column on; what is behind it is masked.

    So a row's sums run over its own columns in their order, whoever is beside it. A row that
    leaves gives its place to the last one, which takes no memory. Not thread-safe.
    """

    def __init__(self) -> None:
        self._layers: list[_RowsLayer] = []
        self._cache = Cache(layers=self._layers)
        self._lengths: list[int] = []

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return list(self._lengths)

    def join(self, layers: Layers) -> None:
        """Copy a row `[1, H, T, D]` in as the last one; nothing changes where that fails."""
        if not self._lengths:
            self._layers[:] = [_RowsLayer(keys, values) for keys, values in layers]
        for layer, states in zip(self._layers, layers, strict=True):
            layer.put(len(self), states)
        self._lengths.append(layers[0][0].shape[-2])

    def row(self, index: int) -> Layers:
        """A copy of one row."""
        tokens = self._lengths[index]
        return [layer.row(index, tokens) for layer in self._layers]

    def leave(self, index: int) -> None:
        """Take one row out; the last one gets its index."""
        tokens = self._lengths.pop()
        if not self._lengths:
            self._layers.clear()
        elif index < len(self._lengths):
            self._lengths[index] = tokens
            for layer in self._layers:
                layer.move(len(self), index, tokens)

    def step(self, model: Any, ids: Sequence[int]) -> Any:
        """One token more for every row → the scores of the next ones `[B, V]` in float32.

        Where the model fails, no row has become longer.
        """
        device = model.device
        lengths = torch.tensor(self._lengths, device=device)
        width = max(self._lengths)
        mask: Any = None
        if min(self._lengths) < width:
            columns = torch.arange(width + 1, device=device)
            mask = (columns[None] <= lengths[:, None]).long()  # [B, T + 1]
        for layer in self._layers:
            layer.expect(lengths, width)
        made = model(
            input_ids=torch.tensor(ids, device=device)[:, None],
            attention_mask=mask,
            position_ids=lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._lengths = [length + 1 for length in self._lengths]
        return made.logits[:, -1].float()


class _RowsLayer(DynamicLayer):
    """One layer; `keys` and `values` `[B, H, T, D]` are windows into larger tensors.

    Columns behind a row's end are finite: masked scores weigh nothing, but times infinity.

    Args:
        keys: The shape, the dtype and the device of one row, `[1, H, T, D]`.
        values: As `keys`.
    """

    def __init__(self, keys: Any, values: Any) -> None:
        super().__init__()
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._room = tuple(
            part.new_zeros((1, part.shape[1], part.shape[2] + _SPARE_TOKENS, part.shape[3]))
            for part in (keys, values)
        )
        self._lengths: Any = None
        self._width = 0

    def put(self, index: int, states: tuple[Any, Any]) -> None:
        """Write a row `[1, H, T, D]` to a place that is free."""
        tokens = states[0].shape[-2]
        self._make_room(index + 1, tokens)
        for part, own in zip(self._room, states, strict=True):
            part[index, :, :tokens] = own[0]
            part[index, :, tokens:] = 0

    def row(self, index: int, tokens: int) -> tuple[Any, Any]:
        """A copy of one row, `[1, H, T, D]`."""
        keys, values = (part[index : index + 1, :, :tokens].clone() for part in self._room)
        return keys, values

    def move(self, index: int, to: int, tokens: int) -> None:
        """Copy a row of so many tokens over another one."""
        for part in self._room:
            part[to, :, :tokens] = part[index, :, :tokens]
            part[to, :, tokens:] = 0

    def expect(self, lengths: Any, width: int) -> None:
        """Before a step: rows of these lengths `[B]`, the longest of them `width`."""
        self._lengths, self._width = lengths, width
        self._show(width)

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write one token `[B, H, 1, D]` behind each row's end."""
        num_rows = len(self._lengths)
        self._make_room(num_rows, self._width + 1)
        for part, new in zip(self._room, (key_states, value_states), strict=True):
            if num_rows == 1:
                part[:1, :, self._width : self._width + 1] = new
            else:
                rows = torch.arange(num_rows, device=part.device)
                part[rows, :, self._lengths.to(part.device)] = new[:, :, 0]
        self._show(self._width + 1)
        return self.keys, self.values

    def _show(self, width: int) -> None:
        num_rows = len(self._lengths)
        self.keys, self.values = (part[:num_rows, :, :width] for part in self._room)

    def _make_room(self, num_rows: int, width: int) -> None:
        rows, heads, columns, size = self._room[0].shape
        if rows >= num_rows and columns >= width:
            return
        shape = (max(rows, num_rows), heads, max(columns, width + _SPARE_TOKENS), size)
        larger = tuple(part.new_zeros((*shape[:3], part.shape[3])) for part in self._room)
        for new, old in zip(larger, self._room, strict=True):
            new[:rows, :, :columns] = old
        self._room = larger

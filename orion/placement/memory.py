"""What a model takes in memory: weights, attention states, and what runs them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orion.types import RuntimeName
from orion.units import MIB

if TYPE_CHECKING:
    from orion.registry import Model, Variant

_KV_DTYPE_BYTES = 2
_BITS_PER_BYTE = 8
_OVERHEAD_BYTES = {
    RuntimeName.LLAMACPP: 96 * MIB,
    RuntimeName.TRANSFORMERS: 512 * MIB,
    RuntimeName.REMOTE: 0,
}
"""A worker without weights and attention states: interpreter, libraries, compute buffers.
Measured with the embedded model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """What one worker will hold, in bytes; `slot_bytes` once for each of `slots`."""

    weights_bytes: int
    overhead_bytes: int
    slot_bytes: int
    slots: int

    @property
    def total_bytes(self) -> int:
        """All of it together."""
        return self.weights_bytes + self.overhead_bytes + self.slot_bytes * self.slots


def kv_bytes_per_token(model: Model, *, dtype_bytes: int = _KV_DTYPE_BYTES) -> int:
    """2 · layers · kv_heads · head_dim · bytes of a value; 0 where the sizes are not known."""
    sizes = model.architecture
    if sizes is None:
        return 0
    return 2 * sizes.layers * sizes.kv_heads * sizes.head_dim * dtype_bytes


def weights_bytes(model: Model, variant: Variant) -> int:
    """The size of the files, or for a derived variant the parameters at its precision."""
    derived = int(model.parameters * variant.bits_per_weight / _BITS_PER_BYTE)
    return variant.size_bytes or derived


def memory_need(
    model: Model, variant: Variant, *, context_tokens: int, slots: int, room_bytes: int | None
) -> MemoryNeed:
    """What the variant takes with as many of `slots` as fit into `room_bytes`, one at least.

    Args:
        model: Whose variant it is.
        variant: What is loaded.
        context_tokens: Context of each slot.
        slots: How many answers at once are wanted.
        room_bytes: What may be had for it; None is not known, and nothing is taken off.
    """
    weights = weights_bytes(model, variant)
    overhead = _OVERHEAD_BYTES[variant.runtime]
    slot = kv_bytes_per_token(model) * context_tokens
    for_slots = None if room_bytes is None else room_bytes - weights - overhead
    return MemoryNeed(
        weights_bytes=weights,
        overhead_bytes=overhead,
        slot_bytes=slot,
        slots=fit_slots(slots, slot_bytes=slot, room_bytes=for_slots),
    )


def fit_slots(wanted: int, *, slot_bytes: int, room_bytes: int | None) -> int:
    """How many of `wanted` slots fit: one at least, for that is what is then asked for."""
    if room_bytes is None or slot_bytes <= 0:
        return wanted
    return max(1, min(wanted, room_bytes // slot_bytes))


def fit_spare_bytes(wanted_bytes: int, *, need_bytes: int, room_bytes: int | None) -> int:
    """How much of `wanted_bytes` is left over beside what is needed."""
    if room_bytes is None:
        return wanted_bytes
    return max(0, min(wanted_bytes, room_bytes - need_bytes))

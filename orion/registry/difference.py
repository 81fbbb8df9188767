"""What sets one registry apart from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orion.registry.entries import Model
    from orion.registry.registry import Registry

_SHOWN = {"name", "family", "description", "languages", "licence"}
"""What of a model is shown and no more: a worker that holds it need not end for these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Names of agents and models, sorted. `stale`: models whose weights must be loaded anew."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    stale: tuple[str, ...]


def difference(old: Registry, new: Registry) -> Difference:
    """What a reload from `old` to `new` means. Agents and models share one namespace."""
    before, after = _entries(old), _entries(new)
    common = before.keys() & after.keys()
    changed = {name for name in common if before[name] != after[name]}
    stale = {name for name in old.models if _is_stale(old.models[name], new.models.get(name))}
    return Difference(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(changed)),
        kept=tuple(sorted(common - changed)),
        stale=tuple(sorted(stale)),
    )


def _entries(registry: Registry) -> Mapping[str, Any]:
    return {**registry.models, **registry.agents}


def _is_stale(old: Model, new: Model | None) -> bool:
    if new is None or old == new:
        return new is None
    return old.model_dump(exclude=_SHOWN) != new.model_dump(exclude=_SHOWN)

"""By which limits the dispatcher works, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.breakers import Breaker

Post = Callable[[Callable[[], None]], None]
"""Puts one more event into the dispatcher's inbox."""

Observer = Callable[[str, str, dict[str, Any]], None]
"""Hears what happens to models: an event, the model, and facts about it. Must not block.

`loaded` {seconds, speculative}; `granted` {speculative, load_s_saved, ahead_s} for the first answer
of a model that was loaded on a guess, and was asked for `ahead_s` after its load began; `gone`
{speculative_unused}, of such a load that failed too; `declined` {} for a guess that is not loaded:
somebody waits, is answered, or holds every place.
"""

BreakerFor = Callable[[str, str], "Breaker"]
"""`load` or `generate` and a model or an agent → its breaker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherLimits:
    """How much at once, and for how long."""

    places: int
    queue_max: int
    default_slots: int
    queue_tokens: int = 65_536
    client_share: float = 0.5
    turn_max: int = 16
    patience_s: float = 15.0
    budget_bytes: int | None = None
    reserve_bytes: int = 0
    keep_alive_s: float = -1.0
    pinned: frozenset[str] = frozenset()
    load_s: float
    generate_s: float
    spares: int
    spare_class: str
    heartbeat_s: float = 2.0
    stall_s: float = 10.0
    stop_s: float = 0.5
    reader_s: float = 30.0
    buffer_bytes: int = 262_144
    growth_bytes: int = 2 * 1024**3
    deaths_max: int = 2
    quarantine_s: float = 3600.0


@dataclass(slots=True)
class Tally:
    """What has happened since the start. Read from any thread."""

    loads: int = 0
    evictions: int = 0
    speculative_loads: int = 0
    deaths: int = 0
    fallbacks: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)

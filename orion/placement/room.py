"""How much memory a model could have, given what the others hold. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What models hold, in bytes.

    `coming_bytes` are those of loads under way; `reserved_bytes` is what has been set aside for
    the very model that is asked about, whose load has begun: others have left for it, and no
    more will.
    """

    evictable_bytes: int = 0
    pinned_bytes: int = 0
    coming_bytes: int = 0
    reserved_bytes: int = 0


def room_bytes(
    held: Holdings, *, free_bytes: int | None, budget_bytes: int | None, reserve_bytes: int
) -> int | None:
    """The most a model could have; None: not known.

    Args:
        held: What the models hold, and what was set aside for this one.
        free_bytes: What the machine has free now; None: not known.
        budget_bytes: For all resident models together; None: as much as there is.
        reserve_bytes: To be left free on the machine.
    """
    goes = 0 if held.reserved_bytes else held.evictable_bytes
    rooms = []
    if free_bytes is not None:
        rooms.append(free_bytes - reserve_bytes - held.coming_bytes + goes)
    if budget_bytes is not None:
        stays = held.pinned_bytes + held.coming_bytes + held.evictable_bytes - goes
        rooms.append(budget_bytes - stays)
    return max(0, held.reserved_bytes, min(rooms)) if rooms else None

"""Which slot of llama.cpp a conversation runs in. Decides only; nothing here touches a slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orion.runtime.states import continued_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A conversation in a slot: `session` asked it, with a prompt of `ids`."""

    session: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A slot to use; `is_own` where it holds the conversation that goes on.

    `victim` is a conversation that is overwritten and may be asked for again.
    """

    slot: int
    is_own: bool
    victim: Held | None


class SlotTable:
    """What each slot holds and whether it is at work.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self, num_slots: int) -> None:
        self._held: list[Held | None] = [None] * num_slots
        self._used: list[int] = [0] * num_slots
        self._at_work: set[int] = set()
        self._clock = 0

    def take(
        self, session: str, ids: Sequence[int], *, shared_tokens: int = 0, kept_tokens: int = 0
    ) -> Choice | None:
        """A slot for `session` with a prompt of `ids`; None while all are at work.

        The one that holds this conversation, unless a state of more than that is kept
        elsewhere (`kept_tokens`); else one that holds nothing, else the least recently
        used one. "" is nobody's session: it goes on from nothing.
        """
        idle = [slot for slot in range(len(self._held)) if slot not in self._at_work]
        if not idle:
            return None
        own = self._own(idle, session, ids, shared_tokens)
        if own and own[0] >= kept_tokens:
            choice = Choice(slot=own[1], is_own=True, victim=None)
        else:
            slot = min(idle, key=lambda slot: (self._held[slot] is not None, self._used[slot]))
            choice = Choice(slot=slot, is_own=False, victim=self._held[slot])
        self._at_work.add(choice.slot)
        return choice

    def give_back(self, slot: int, held: Held | None) -> None:
        """`slot` is idle again, with `held` in it; None: with nothing anyone may go on from."""
        self._clock += 1
        self._used[slot] = self._clock
        self._held[slot] = held if held and held.session else None
        self._at_work.discard(slot)

    def _own(
        self, idle: list[int], session: str, ids: Sequence[int], shared_tokens: int
    ) -> tuple[int, int] | None:
        found = [
            (continued_tokens(held.ids, ids, shared_tokens=shared_tokens), slot)
            for slot in idle
            if (held := self._held[slot]) and held.session == session
        ]
        best = max(found, default=(0, 0))
        return best if best[0] else None

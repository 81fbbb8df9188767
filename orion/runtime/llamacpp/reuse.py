"""What an answer finds in its slot: its own conversation, or its agent's words, or nothing.

llama.cpp would choose a slot by the longest common prefix, whoever wrote it; here each
session finds its own tokens only, so that no one can tell by the clock what others asked.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orion.errors import GenerationError
from orion.runtime.llamacpp.slots import Held, SlotTable
from orion.runtime.states import SHARED_MIN_TOKENS, Kept, StateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orion.runtime.llamacpp.slots import Choice
    from orion.runtime.llamacpp.vault import Saved, Vault

_LOOK_UP_S = 0.05
_WORTH_KEEPING_TOKENS = 64


@dataclass(slots=True, kw_only=True)
class Lease:
    """A slot for one answer; set `is_used` before the server is given it.

    `is_warm`: what the slot holds may be taken over; else all is computed anew. Of that,
    `read_tokens` were computed a moment ago, for this answer.
    """

    slot: int
    is_warm: bool = False
    read_tokens: int = 0
    is_used: bool = False


class SlotReuse:
    """Leases slots, and brings into them what may be gone on from. Thread-safe.

    Args:
        num_slots: Of the server.
        max_bytes: For the states of conversations that lost their slot, and of agents'
            prompts; 0 keeps none.
        vault: Copies states; None where that is not possible.
        read: Reads ids into an emptied slot, until it is stopped; whether it read them all.
    """

    def __init__(
        self,
        num_slots: int,
        *,
        max_bytes: int,
        vault: Vault | None,
        read: Callable[[int, Sequence[int], Callable[[], bool]], bool],
    ) -> None:
        self._table = SlotTable(num_slots)
        self._vault = vault
        self._read = read
        self._store: StateStore[Saved] = StateStore(max_bytes if vault else 0, self._drop)
        self._token_bytes = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lease(
        self,
        session: str,
        ids: Sequence[int],
        *,
        shared_tokens: int,
        anew: bool,
        is_stopped: Callable[[], bool],
    ) -> Iterator[Lease | None]:
        """A slot for a prompt of `ids`; None where the answer was stopped before one was free.

        The first `shared_tokens` are nobody's words. With `anew` nothing is taken over.
        """
        found = self._wait(session, ids, shared_tokens, is_stopped)
        if found is None:
            yield None
            return
        choice, kept = found
        lease = Lease(slot=choice.slot)
        held: Held | None = None
        try:
            if choice.victim:
                self._park(choice.slot, choice.victim)
            if kept:
                lease.is_warm = self._resume(choice.slot, kept)
            elif choice.is_own:
                lease.is_warm = True
            elif shared_tokens >= SHARED_MIN_TOKENS and not anew:
                self._begin(lease, tuple(ids[:shared_tokens]), is_stopped)
            lease.is_warm = lease.is_warm and not anew
            yield lease
            if lease.is_used or lease.is_warm:  # otherwise it may be another session's still
                held = Held(session=session, ids=tuple(ids))
        finally:
            with self._changed:
                self._table.give_back(choice.slot, held)
                self._changed.notify()

    def _wait(
        self,
        session: str,
        ids: Sequence[int],
        shared_tokens: int,
        is_stopped: Callable[[], bool],
    ) -> tuple[Choice, Kept[Saved] | None] | None:
        with self._changed:
            while True:
                kept_tokens = self._store.continued_tokens(
                    session, ids, shared_tokens=shared_tokens
                )
                choice = self._table.take(
                    session, ids, shared_tokens=shared_tokens, kept_tokens=kept_tokens
                )
                if choice:
                    break
                self._changed.wait(_LOOK_UP_S)
                if is_stopped():
                    return None
            if choice.is_own or not kept_tokens:
                return choice, None
            return choice, self._store.take(session, ids, shared_tokens=shared_tokens)

    def _park(self, slot: int, victim: Held) -> None:
        """Keep the conversation that is about to lose its slot, where there is room."""
        tokens = len(victim.ids)
        if tokens >= _WORTH_KEEPING_TOKENS:
            self._save(slot, victim.session, victim.ids)

    def _save(self, slot: int, session: str | None, ids: tuple[int, ...]) -> None:
        if not self._vault or not self._store.has_room(self._token_bytes * len(ids)):
            return
        with contextlib.suppress(GenerationError):
            saved = self._vault.save(slot)
            with self._changed:
                self._token_bytes = saved.size_bytes // max(1, saved.tokens)
                self._store.put(
                    Kept(session=session, ids=ids, state=saved, size_bytes=saved.size_bytes)
                )

    def _resume(self, slot: int, kept: Kept[Saved]) -> bool:
        assert self._vault
        try:
            self._vault.restore(slot, kept.state)
        except GenerationError:
            return False
        self._vault.drop(kept.state)
        return True

    def _begin(self, lease: Lease, ids: tuple[int, ...], is_stopped: Callable[[], bool]) -> None:
        """Bring in what every conversation with this agent begins with, or read and keep it."""
        if not self._vault or not self._store.has_room(self._token_bytes * len(ids)):
            return
        with self._changed:
            kept = self._store.borrow(ids)
        if kept:
            with contextlib.suppress(GenerationError):
                self._vault.restore(lease.slot, kept.state)
                lease.is_warm = True
            with self._changed:
                self._store.give_back(kept, broken=not lease.is_warm)
        elif self._read(lease.slot, ids, is_stopped):
            lease.is_warm, lease.read_tokens = True, len(ids)
            self._save(lease.slot, None, ids)

    def _drop(self, saved: Saved) -> None:
        assert self._vault
        self._vault.drop(saved)

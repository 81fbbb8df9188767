"""Attention states kept for later: by conversation, within a session, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

State = TypeVar("State")

SHARED_MIN_TOKENS = 16


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading ids are the same."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


def continued_tokens(held: Sequence[int], ids: Sequence[int], *, shared_tokens: int) -> int:
    """The tokens of `held` that `ids` goes on from; 0 where it is another conversation.

    It is the same one where at least half of what lies beyond the first `shared_tokens`,
    which any conversation may begin with, lives on.
    """
    same = common_prefix(held, ids)
    own, total = same - shared_tokens, len(held) - shared_tokens
    return same if own > 0 and 2 * own >= total else 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept(Generic[State]):
    """A state after `ids`; of one session, or of nobody's words (`session` is None)."""

    session: str | None
    ids: tuple[int, ...]
    state: State
    size_bytes: int


class StateStore(Generic[State]):
    """States by session, the least recently used out first.

    A state of a session is taken out to be used; one of nobody's words is borrowed, and not
    dropped before it is given back. Not thread-safe: its owner holds a lock.

    Args:
        max_bytes: For all of them together; 0 keeps none.
        drop: Lets go of one.
    """

    def __init__(self, max_bytes: int, drop: Callable[[State], None]) -> None:
        self._max_bytes = max_bytes
        self._drop = drop
        self._kept: OrderedDict[int, Kept[State]] = OrderedDict()
        self._borrowed: dict[int, int] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def has_room(self, size_bytes: int) -> bool:
        """Whether a state of that size could be kept, at the cost of others."""
        return 0 < self._max_bytes >= size_bytes

    def put(self, kept: Kept[State]) -> None:
        """Keep one; it is dropped at once where it alone is too large."""
        self._kept[id(kept)] = kept
        self.size_bytes += kept.size_bytes
        if not self.has_room(kept.size_bytes):
            self._let_go(kept)
        for old in list(self._kept.values()):
            if self.size_bytes <= self._max_bytes:
                break
            if id(old) not in self._borrowed:
                self._let_go(old)

    def continued_tokens(self, session: str, ids: Sequence[int], *, shared_tokens: int) -> int:
        """What `take` would give, in tokens."""
        best = self._best(session, ids, shared_tokens)
        return best[0] if best else 0

    def take(self, session: str, ids: Sequence[int], *, shared_tokens: int) -> Kept[State] | None:
        """The state of `session` that `ids` goes on from, taken out."""
        best = self._best(session, ids, shared_tokens)
        if best is None:
            return None
        del self._kept[id(best[1])]
        self.size_bytes -= best[1].size_bytes
        return best[1]

    def borrow(self, ids: Sequence[int]) -> Kept[State] | None:
        """The state after exactly `ids`, which are nobody's words; give it back."""
        wanted = tuple(ids)
        for key, kept in self._kept.items():
            if kept.session is None and kept.ids == wanted:
                self._kept.move_to_end(key)
                self._borrowed[key] = self._borrowed.get(key, 0) + 1
                return kept
        return None

    def give_back(self, kept: Kept[State], *, broken: bool = False) -> None:
        """What was borrowed; a `broken` one is not lent again."""
        key = id(kept)
        count = self._borrowed.pop(key, 0)
        if count > 1:
            self._borrowed[key] = count - 1
        if broken and key in self._kept:
            del self._kept[key]
            self.size_bytes -= kept.size_bytes

    def clear(self) -> None:
        """Let go of everything."""
        for kept in list(self._kept.values()):
            self._let_go(kept)

    def _best(
        self, session: str, ids: Sequence[int], shared_tokens: int
    ) -> tuple[int, Kept[State]] | None:
        best: tuple[int, Kept[State]] | None = None
        for kept in self._kept.values():
            if kept.session != session:
                continue
            same = continued_tokens(kept.ids, ids, shared_tokens=shared_tokens)
            if same and (best is None or same > best[0]):
                best = (same, kept)
        return best

    def _let_go(self, kept: Kept[State]) -> None:
        del self._kept[id(kept)]
        self.size_bytes -= kept.size_bytes
        self._drop(kept.state)

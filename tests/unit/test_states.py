"""Attention states: found by those who may, and never more of them than there is room for."""

from __future__ import annotations

import pytest

from orion.runtime.states import Kept, StateStore, common_prefix, continued_tokens


def kept(session: str | None, ids: str, size: int = 10) -> Kept[str]:
    return Kept(
        session=session, ids=tuple(map(ord, ids)), state=f"{session}:{ids}", size_bytes=size
    )


class Store(StateStore[str]):
    """A store that remembers what it let go of."""

    def __init__(self, max_bytes: int) -> None:
        self.dropped: list[str] = []
        super().__init__(max_bytes, self.dropped.append)

    def ask(self, session: str, ids: str, shared: int = 0) -> str | None:
        found = self.take(session, tuple(map(ord, ids)), shared_tokens=shared)
        return found.state if found else None


class TestContinuedTokens:
    def test_what_is_the_same_is_counted(self):
        """Up to the first difference, or the end of the shorter one."""
        assert common_prefix([1, 2, 3], (1, 2, 4, 5)) == 2
        assert common_prefix([1, 2], [1, 2, 3]) == 2
        assert common_prefix([], [1]) == 0

    @pytest.mark.parametrize(
        ("held", "ids", "shared", "tokens"),
        [
            ("SSabcd", "SSabcdefgh", 2, 6),
            ("SSabcd", "SSabxxxx", 2, 4),
            ("SSabcd", "SSaxxxxx", 2, 0),
            ("SSabcd", "SSxxxxxx", 2, 0),
            ("SS", "SSxx", 2, 0),
            ("abcd", "abcd", 0, 4),
        ],
    )
    def test_half_of_its_own_words_make_it_the_same_conversation(self, held, ids, shared, tokens):
        """What every conversation begins with says nothing."""
        assert continued_tokens(held, ids, shared_tokens=shared) == tokens


class TestStateStore:
    def test_the_longest_state_of_the_same_session_is_taken_once(self):
        """Others' are never found, however equal the words."""
        store = Store(100)
        for session, ids in (("a", "one tw"), ("a", "one two thr"), ("b", "one two three fo")):
            store.put(kept(session, ids))

        assert store.ask("a", "one two three four") == "a:one two thr"
        assert store.ask("a", "one two three four") == "a:one tw"
        assert store.ask("a", "one two three four") is None
        assert store.size_bytes == 10

    def test_the_least_recently_used_make_room(self):
        """One that is too large for the store makes nobody leave."""
        store = Store(25)
        for name in "abc":
            store.put(kept(name, "words"))
        store.put(kept("d", "words", size=26))

        assert store.dropped == ["a:words", "d:words"]
        assert store.size_bytes == 20

    def test_without_bytes_nothing_is_kept(self):
        """Not even a state of no size."""
        store = Store(0)
        store.put(kept("a", "words", size=0))

        assert not store.has_room(0)
        assert store.dropped == ["a:words"]
        assert len(store) == 0

    def test_what_is_borrowed_stays_until_it_is_given_back(self):
        """It is somebody's hands that hold it."""
        store = Store(20)
        store.put(kept(None, "system"))
        first = store.borrow(tuple(map(ord, "system")))
        second = store.borrow(tuple(map(ord, "system")))
        assert first is second is not None

        for name in "abc":
            store.put(kept(name, "words"))
        assert "None:system" not in store.dropped
        store.give_back(first)
        store.give_back(first)
        for name in "def":
            store.put(kept(name, "words"))

        assert "None:system" in store.dropped
        assert store.borrow(tuple(map(ord, "system"))) is None

    def test_what_came_back_broken_is_not_lent_again(self):
        """And not handed to be used for something else."""
        store = Store(20)
        store.put(kept(None, "system"))
        borrowed = store.borrow(tuple(map(ord, "system")))
        assert borrowed
        store.give_back(borrowed, broken=True)

        assert store.borrow(tuple(map(ord, "system"))) is None
        assert (store.dropped, store.size_bytes) == ([], 0)

    def test_no_session_finds_what_is_everybodys_by_asking_as_a_session(self):
        """The two are different doors."""
        store = Store(20)
        store.put(kept(None, "system"))

        assert store.ask("", "system") is None
        store.clear()
        assert store.dropped == ["None:system"]

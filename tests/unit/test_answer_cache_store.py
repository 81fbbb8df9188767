"""The store of answers: how many, how large, how long, and whose."""

from __future__ import annotations

from typing import Any

import pytest

from orion.answer_cache import AnswerKey
from orion.answer_cache.store import AnswerStore
from orion.clock import ManualClock
from tests.fakes.flight import stored


def key(name: str, session: str = "s1") -> AnswerKey:
    return AnswerKey(digest=name.encode(), session=session)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def make_store(clock):
    def make(**given: Any) -> AnswerStore:
        options: dict[str, Any] = {"entries": 10, "size_bytes": 1 << 20, "ttl_s": 60.0}
        return AnswerStore(**{**options, **given}, clock=clock)

    return make


def held(store: AnswerStore, *names: str) -> list[str]:
    return [name for name in names if store.get(key(name))]


class TestAge:
    def test_an_answer_says_how_old_it_is(self, make_store, clock):
        """Measured from when it was stored, not from when it was last given."""
        store = make_store()
        store.put(key("a"), stored("text"))
        clock.advance(7.5)
        store.get(key("a"))
        clock.advance(0.5)

        hit = store.get(key("a"))

        assert (hit.answer.text, hit.age_s) == ("text", 8.0)

    def test_an_old_answer_is_gone_from_memory_too(self, make_store, clock):
        """At the moment its time is over, however often it was asked for."""
        store = make_store(ttl_s=60.0)
        store.put(key("a"), stored("text"))
        clock.advance(59.0)
        assert store.get(key("a")) is not None
        clock.advance(1.0)

        assert store.get(key("a")) is None
        assert (len(store), store.size_bytes, store.expired) == (0, 0, 1)

    def test_what_nobody_asks_for_expires_at_the_next_store(self, make_store, clock):
        """Nothing lies about for ever."""
        store = make_store(ttl_s=60.0)
        store.put(key("a"), stored("text"))
        clock.advance(60.0)
        store.put(key("b"), stored("text"))

        assert (len(store), store.expired) == (1, 1)

    def test_an_answer_stored_again_begins_anew(self, make_store, clock):
        """And takes its room once."""
        store = make_store(ttl_s=60.0)
        store.put(key("a"), stored("old"))
        clock.advance(50.0)
        store.put(key("a"), stored("new"))
        clock.advance(50.0)

        assert store.get(key("a")).answer.text == "new"
        assert store.size_bytes == stored("new").size_bytes


class TestBounds:
    def test_the_one_not_asked_for_the_longest_goes_first(self, make_store):
        """Asking keeps."""
        store = make_store(entries=3)
        for name in "abc":
            store.put(key(name), stored(name))
        store.get(key("a"))
        store.put(key("d"), stored("d"))

        assert held(store, "a", "b", "c", "d") == ["a", "c", "d"]
        assert store.evicted == 1

    def test_bytes_bound_it_as_well(self, make_store):
        """As many leave as it takes."""
        small, large = stored("x" * 1000), stored("y" * 5000)
        store = make_store(size_bytes=3 * small.size_bytes + large.size_bytes - 1)
        for name in "abcd":
            store.put(key(name), small)
        store.put(key("e"), large)

        assert held(store, "a", "b", "c", "d", "e") == ["c", "d", "e"]
        assert store.size_bytes == 2 * small.size_bytes + large.size_bytes
        assert store.evicted == 2

    def test_one_that_alone_is_too_large_drives_nobody_out(self, make_store):
        """It is not kept, and what it would have replaced is not given any more."""
        store = make_store(size_bytes=4096)
        store.put(key("a"), stored("small"))
        store.put(key("b"), stored("x" * 10_000))
        assert held(store, "a", "b") == ["a"]

        store.put(key("a"), stored("x" * 10_000))
        assert held(store, "a") == []
        assert (store.size_bytes, store.stored, store.evicted) == (0, 1, 0)

    @pytest.mark.parametrize("letter", ["x", "é", "漢", "\U0001f600"])
    def test_a_text_counts_what_it_takes_in_memory(self, letter):
        """One to four bytes a character, as Python holds it."""
        width = len(letter.encode("utf-16-le")) if ord(letter) > 0xFF else 1

        taken = stored(letter * 1000).size_bytes - stored("").size_bytes

        assert 1000 * width <= taken <= 1000 * width + 100


class TestPurge:
    def test_only_the_answers_of_that_session_go(self, make_store):
        """Not those of another, not everybody's."""
        store = make_store()
        for name, session in (("a", "s1"), ("b", "s2"), ("c", ""), ("d", "s1")):
            store.put(key(name, session), stored(name))

        assert store.purge("s1") == 2
        assert store.purge("s1") == 0
        assert len(store) == 2
        assert store.get(key("b", "s2")) is not None
        assert store.get(key("c", "")) is not None

    def test_all_can_go(self, make_store, clock):
        """And nothing is left behind."""
        store = make_store()
        for name in "abc":
            store.put(key(name), stored(name))

        assert store.clear() == 3
        clock.advance(1e6)
        assert (len(store), store.size_bytes, store.expired) == (0, 0, 0)
        assert store.clear() == 0

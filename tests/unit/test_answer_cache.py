"""The answer cache as a whole: what is forgotten, what is off, and a hundred at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orion.answer_cache import Hit
from tests.fakes.flight import (
    LIMIT_S,
    WHOLE,
    Desk,
    End,
    ScriptedSource,
    Word,
    heard,
    make_cache,
    question,
    stored,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestPurge:
    def test_a_session_that_leaves_takes_its_answers_along(self, desk):
        """By its name, and only its own."""
        other = desk.cache.board(desk.cache.key(question(session="s2")), ScriptedSource(*WHOLE))
        desk.source.say(*WHOLE)
        heard(desk.board())
        heard(other)

        assert desk.cache.purge("s1") == 1
        assert desk.count("entries") == 1
        assert desk.cache.purge("") == 0

    def test_what_is_being_made_is_heard_but_not_kept(self, desk):
        """A purge is not undone by what ends after it."""
        for forget in (lambda: desk.cache.purge("s1"), desk.cache.clear):
            source = ScriptedSource(Word("a"))
            seat = desk.board(source)
            assert heard(seat) == [Word("a")]
            forget()
            later = ScriptedSource()
            newcomer = desk.board(later)
            assert newcomer.leads
            newcomer.leave()
            source.say(End())

            assert heard(seat) == [End()]
            assert (desk.count("entries"), desk.count("flights")) == (0, 0)

    def test_all_can_go(self, desk):
        """Everybody's answers."""
        desk.source.say(*WHOLE)
        heard(desk.board())

        assert desk.cache.clear() == 1
        assert desk.count("entries") == 0


class TestOff:
    def test_no_question_has_a_key(self):
        """So everything is made anew."""
        cache = make_cache(enabled=False, public=True)

        assert cache.key(question()) is None
        assert cache.stats()["enabled"] is False
        assert cache.session_key("s1") != ""


class TestThreads:
    def test_a_hundred_at_once_are_one_generation(self, desk):
        """Each hears every word, though most go early or come late."""
        words = [Word(f"{number} ") for number in range(200)]
        desk.source.say(*words, End())
        barrier = threading.Barrier(100)
        results: dict[int, Any] = {}
        desk.board()  # there is always somebody, so that nothing is cancelled

        def ask(number: int) -> None:
            barrier.wait(LIMIT_S)
            seat = desk.board()
            if isinstance(seat, Hit):
                results[number] = seat.answer.text
                return
            said = ""
            while not isinstance(message := seat.get(LIMIT_S), End):
                if number % 3 == 0 and len(said) > number:
                    break
                said += message.text
            seat.leave()
            results[number] = said if isinstance(message, End) else None

        threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)

        whole = "".join(word.text for word in words)
        shown = [text for number, text in results.items() if text is not None]
        assert len(results) == 100
        assert set(shown) == {whole}
        assert desk.source.starts == 1
        assert desk.source.cancels == 0
        assert desk.source.most_at_once == 1
        assert desk.board().answer == stored(whole)

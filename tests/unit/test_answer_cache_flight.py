"""One generation for many: whoever comes hears all, whoever goes hands over."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orion.answer_cache import Hit
from orion.errors import CancelledError
from tests.fakes.flight import (
    LIMIT_S,
    WHOLE,
    Desk,
    End,
    Load,
    ScriptedSource,
    Turn,
    Wait,
    Word,
    heard,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def aside(call: Any, *arguments: Any) -> tuple[threading.Thread, list[Any]]:
    """`call` on another thread, and where its result, or its exception, will be."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call(*arguments))
        except Exception as error:  # noqa: BLE001 - it is looked at by the test
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def got(waiting: tuple[threading.Thread, list[Any]]) -> Any:
    thread, result = waiting
    thread.join(LIMIT_S)
    return result[0]


class TestJoining:
    def test_a_second_one_joins_and_hears_all_from_the_beginning(self, desk):
        """However late it comes; its own source is not touched."""
        first = desk.board()
        desk.source.say(Word("a"), Word("b"))
        assert heard(first) == [Word("a"), Word("b")]

        unused = ScriptedSource()
        second = desk.board(unused)
        assert (first.leads, second.leads) == (True, False)
        assert second.get(0.0) == Word("a")
        assert second.is_catching_up
        desk.source.say(End())

        assert heard(second) == [Word("b"), End()]
        assert not second.is_catching_up
        assert heard(first) == [End()]
        assert (desk.source.starts, unused.starts) == (1, 0)
        assert (desk.count("misses"), desk.count("joined")) == (1, 1)

    def test_what_ended_unheard_is_a_hit_too(self, desk):
        """Its caller is slow; who comes then reads it to the end first."""
        first = desk.board()
        desk.source.say(*WHOLE)
        assert first.get(0.0) == WHOLE[0]

        assert isinstance(desk.board(ScriptedSource()), Hit)
        assert heard(first) == list(WHOLE[1:])

    def test_after_the_end_the_answer_is_a_hit(self, desk):
        """Stored in the same step in which the flight closes."""
        first = desk.board()
        desk.source.say(*WHOLE)
        assert heard(first) == WHOLE

        hit = desk.board()

        assert isinstance(hit, Hit)
        assert (hit.answer.text, hit.age_s) == ("ab", 0.0)
        assert (desk.count("hits"), desk.count("stored"), desk.count("flights")) == (1, 1, 0)

    def test_nothing_starts_before_somebody_listens(self, desk):
        """And whoever listens first starts it, the one who came first or another."""
        desk.board()
        second = desk.board()
        assert desk.source.starts == 0

        desk.source.say(Word("a"))
        assert second.get(0.0) == Word("a")

        assert desk.source.starts == 1

    def test_progress_is_told_once_and_only_the_latest_of_a_type(self, desk):
        """Those who come later hear what holds now."""
        first = desk.board()
        desk.source.say(Wait(2), Load(1), Wait(1))
        assert heard(first) == [Wait(2), Load(1), Wait(1)]

        second = desk.board()
        assert heard(second) == [Load(1), Wait(1)]
        desk.source.say(Load(2))
        assert heard(second) == [Load(2)]
        assert heard(first) == [Load(2)]
        desk.source.say(Word("a"))
        assert heard(first) == [Word("a")]
        third = desk.board()

        assert heard(third) == [Word("a")]

    def test_nobody_joins_a_generation_that_another_agent_took_over(self, desk):
        """The next one tries the agent it asked for; those who are in go on."""
        first, second = desk.board(), desk.board()
        desk.source.say(Turn())
        assert heard(first) == [Turn()]

        other = ScriptedSource()
        third = desk.board(other)
        desk.source.say(Word("a"), End(whole=False))

        assert third.leads
        assert heard(second) == [Turn(), Word("a"), End(whole=False)]
        other.say(*WHOLE)
        assert heard(third) == WHOLE
        assert desk.board().answer.text == "ab"

    def test_a_flight_that_is_not_shared_is_not_joined_but_stored(self, desk):
        """Its end is the caller's own."""
        alone = desk.board(shared=False)
        beside = desk.board(ScriptedSource())
        assert beside.leads
        desk.source.say(*WHOLE)
        assert heard(alone) == WHOLE

        assert isinstance(desk.board(), Hit)

    def test_one_who_needs_it_unshared_still_joins(self, desk):
        """What is under way is there to be heard."""
        desk.board()

        assert not desk.board(ScriptedSource(), shared=False).leads

    def test_without_a_key_everyone_is_alone(self, desk):
        """Nothing is found, nothing is kept."""
        for _ in range(2):
            source = ScriptedSource(*WHOLE)
            seat = desk.cache.board(None, source)
            assert seat.leads
            assert heard(seat) == WHOLE
        stats = desk.cache.stats()

        assert stats["entries"] == stats["misses"] == stats["hits"] == stats["flights"] == 0


class TestLeaving:
    def test_the_first_one_goes_and_the_others_hear_the_rest(self, desk):
        """Nothing is cancelled, and the whole is stored."""
        first, second = desk.board(), desk.board()
        desk.source.say(Word("a"))
        assert heard(first) == [Word("a")]

        first.leave()
        desk.source.say(Word("b"), End())

        assert heard(second) == WHOLE
        assert desk.source.cancels == 0
        assert desk.board().answer.text == "ab"

    def test_the_last_one_goes_and_it_ends(self, desk):
        """Once, and the next one begins anew."""
        first, second = desk.board(), desk.board()
        desk.source.say(Word("a"))
        heard(first)
        first.leave()
        assert desk.source.cancels == 0
        second.leave()
        second.leave()

        assert desk.source.cancels == 1
        assert desk.count("flights") == 0
        assert desk.board(ScriptedSource()).leads

    def test_going_after_the_end_cancels_nothing(self, desk):
        """It is over already."""
        first = desk.board()
        desk.source.say(*WHOLE)
        heard(first)
        first.leave()

        assert desk.source.cancels == 0

    def test_who_has_left_hears_nothing_more(self, desk):
        """Not even what it had not heard."""
        first, second = desk.board(), desk.board()
        desk.source.say(Word("a"))
        heard(first)
        second.leave()

        with pytest.raises(CancelledError):
            second.get(0.0)

    def test_one_that_reads_for_all_is_cancelled_alone(self, desk):
        """What it read meanwhile reaches the others."""
        first, second = desk.board(), desk.board()
        reading = aside(first.get, LIMIT_S)
        assert desk.source.reading.acquire(timeout=LIMIT_S)
        waiting = aside(second.get, LIMIT_S)
        first.leave()
        desk.source.say(Word("a"))

        assert isinstance(got(reading), CancelledError)
        assert got(waiting) == Word("a")
        assert desk.source.cancels == 0

    def test_one_that_waits_is_cancelled_at_once(self, desk):
        """Whoever reads goes on."""
        first, second = desk.board(), desk.board()
        reading = aside(first.get, LIMIT_S)
        assert desk.source.reading.acquire(timeout=LIMIT_S)
        waiting = aside(second.get, LIMIT_S)
        second.leave()

        assert isinstance(got(waiting), CancelledError)
        desk.source.say(Word("a"))
        assert got(reading) == Word("a")

    def test_a_reader_that_is_told_nothing_hands_over(self, desk):
        """Whoever waits longer reads on."""
        first, second = desk.board(), desk.board()
        reading = aside(first.get, 0.05)
        assert desk.source.reading.acquire(timeout=LIMIT_S)
        waiting = aside(second.get, LIMIT_S)

        assert got(reading) is None
        desk.source.say(Word("a"))
        assert got(waiting) == Word("a")
        assert desk.source.most_at_once == 1

    def test_everybody_goes_while_it_starts(self, desk):
        """What has begun for nobody is cancelled after it has begun."""
        seat = desk.board()
        seen: list[int] = []

        def go() -> None:
            seat.leave()
            seen.append(desk.source.cancels)

        desk.source.on_start = go

        with pytest.raises(CancelledError):
            seat.get(0.0)
        assert desk.source.cancels > seen[0]


class TestFailure:
    def test_a_source_that_breaks_is_told_to_who_read_it(self, desk):
        """The others read on, and nobody hangs."""
        first, second = desk.board(), desk.board()
        desk.source.say(ZeroDivisionError(), *WHOLE)

        with pytest.raises(ZeroDivisionError):
            first.get(0.0)
        first.leave()

        assert heard(second) == WHOLE
        assert isinstance(desk.board(), Hit)

    def test_a_start_that_fails_is_tried_by_the_next(self, desk):
        """It is not taken for done."""
        first, second = desk.board(), desk.board()
        desk.source.on_start = [].pop
        with pytest.raises(IndexError):
            first.get(0.0)
        first.leave()
        desk.source.on_start = None
        desk.source.say(*WHOLE)

        assert heard(second) == WHOLE
        assert desk.source.starts == 2

    def test_a_bug_in_keeping_costs_nobody_the_end(self, desk):
        """The one who read hears of it; the answer is not kept."""

        class Clumsy(ScriptedSource):
            def answer(self, messages):
                raise ZeroDivisionError

        source = Clumsy(*WHOLE)
        first, second = desk.board(source), desk.board(source)
        assert [first.get(0.0), first.get(0.0)] == WHOLE[:2]
        with pytest.raises(ZeroDivisionError):
            first.get(0.0)

        assert heard(second) == WHOLE
        assert (desk.count("flights"), desk.count("entries")) == (0, 0)

    def test_what_is_not_whole_is_not_kept(self, desk):
        """Whoever joined hears how it ended."""
        first, second = desk.board(), desk.board()
        desk.source.say(Word("a"), End(whole=False))
        heard(first)

        assert heard(second) == [Word("a"), End(whole=False)]
        assert desk.board(ScriptedSource()).leads

"""What is resident, what it takes, and what goes to make room."""

from __future__ import annotations

from typing import Any

import pytest

from orion.scheduling import CacheLimits, ModelCache, Resident


def make_cache(**given: Any) -> ModelCache:
    """Room for three models of two slots each, unless told otherwise."""
    return ModelCache(CacheLimits(**{"places": 3, "default_slots": 2} | given))


def hold(cache: ModelCache, model: str, num_bytes: int = 0, slots: int = 2) -> Resident:
    cache.begin(model, num_bytes, 0.0)
    return cache.loaded(model, slots, num_bytes, 0.0)


def nothing_planned(model: str) -> int:
    return 0


class TestPlaces:
    def test_models_that_come_or_go_take_a_place_too(self):
        """A place is free when the process has ended, not when it was asked to."""
        cache = make_cache()
        hold(cache, "a").leaving = True
        cache.begin("b", 0, 0.0)
        cache.begin("c", 0, 0.0, speculative=True)
        cache.abort("c")
        assert cache.num_taken == 3
        assert not cache.has_place

        cache.gone("a")
        cache.gone("c")
        cache.failed("b")

        assert cache.num_taken == 0

    def test_capacity_is_what_could_run_were_every_place_taken(self):
        """Models have their own slots, free places the usual ones."""
        cache = make_cache()
        assert cache.capacity == 6
        hold(cache, "a", slots=1)
        cache.begin("b", 0, 0.0)
        assert cache.capacity == 5

        cache.gone("a")

        assert cache.capacity == 6

    def test_a_model_is_known_until_its_process_has_ended(self):
        """It must not be loaded twice."""
        cache = make_cache()
        assert not cache.is_known("a")
        cache.begin("a", 0, 0.0, speculative=True)
        assert cache.is_known("a")
        cache.abort("a")
        assert cache.is_known("a")

        cache.gone("a")

        assert not cache.is_known("a")


class TestBytes:
    def test_the_budget_counts_what_is_here_comes_and_goes(self):
        """At every moment."""
        cache = make_cache(budget_bytes=10)
        hold(cache, "a", 3)
        cache.begin("b", 3, 0.0)
        cache.begin("c", 3, 0.0, speculative=True)
        cache.abort("c")

        assert cache.fits(1, lambda: None)
        assert not cache.fits(2, lambda: None)

    def test_what_is_free_must_hold_it_and_the_loads_under_way_and_the_reserve(self):
        """They may not have allocated anything yet."""
        cache = make_cache(reserve_bytes=2)
        cache.begin("a", 3, 0.0)

        assert cache.fits(5, lambda: 10)
        assert not cache.fits(6, lambda: 10)

    def test_a_model_of_unknown_size_fits(self):
        """And memory is not even measured for it."""
        assert make_cache(budget_bytes=1).fits(0, pytest.fail)

    def test_where_what_is_free_is_not_known_it_fits(self):
        """The budget aside."""
        assert make_cache().fits(10**12, lambda: None)

    @pytest.mark.parametrize(
        ("total", "budget", "most"),
        [(None, None, None), (10, None, 8), (None, 5, 5), (10, 5, 5), (10, 9, 8), (1, None, 0)],
    )
    def test_the_most_one_model_can_have_is_the_smaller_of_machine_and_budget(
        self, total, budget, most
    ):
        """Less what is kept free on the machine."""
        cache = make_cache(budget_bytes=budget, reserve_bytes=2)

        assert cache.most_bytes(total) == most
        assert cache.is_too_large(9, total) == (most is not None)
        assert not cache.is_too_large(0, total)

    def test_what_was_measured_counts_and_not_what_was_planned(self):
        """From the first load on."""
        cache = make_cache()
        assert cache.need_bytes("a", lambda _: 7) == 7
        cache.begin("a", 7, 0.0)
        assert cache.loaded("a", 1, 9, 0.0).num_bytes == 9
        cache.gone("a")

        assert cache.need_bytes("a", lambda _: 7) == 9

    def test_a_smaller_plan_is_another_matter(self):
        """What was measured with more slots says nothing about fewer."""
        cache = make_cache()
        cache.begin("a", cache.need_bytes("a", lambda _: 7), 0.0)
        cache.loaded("a", 4, 9, 0.0)
        cache.gone("a")

        assert cache.need_bytes("a", lambda _: 5) == 5
        assert cache.need_bytes("a", lambda _: 7) == 9
        assert cache.need_bytes("a", lambda _: 8) == 9

    def test_what_could_not_be_measured_is_as_planned(self):
        """Also for the budget."""
        cache = make_cache()
        cache.begin("a", 7, 0.0)

        assert cache.loaded("a", 1, 0, 0.0).num_bytes == 7
        assert cache.need_bytes("a", nothing_planned) == 0

    def test_the_most_it_was_seen_to_take_is_remembered(self):
        """It may take it again."""
        cache = make_cache()
        hold(cache, "a", 5)
        for num_bytes in (8, 3):
            cache.measured("a", num_bytes)
        cache.measured("nobody", 8)

        assert cache.resident["a"].num_bytes == 8
        assert cache.need_bytes("a", nothing_planned) == 8
        assert cache.need_bytes("nobody", nothing_planned) == 0


class TestVictim:
    def test_the_least_recently_used_goes_first(self):
        """Use is the beginning or the end of an answer, or the load itself."""
        cache = make_cache()
        for model in "abc":
            hold(cache, model)
        cache.lease(cache.resident["a"], None)
        cache.release("a", 1.0)

        assert cache.victim() == "b"

    def test_one_in_use_that_leaves_or_that_is_pinned_is_none(self):
        """And nobody else is there."""
        cache = make_cache(pinned=frozenset({"a"}))
        for model in "abc":
            hold(cache, model)
        cache.lease(cache.resident["b"], None)
        cache.resident["c"].leaving = True

        assert cache.victim() is None

    @pytest.mark.parametrize("state", ["empty", "pinned", "pinned but unloaded", "leaving", "used"])
    def test_room_may_come_from_whatever_is_not_pinned(self, state):
        """Or from what leaves, also where it is pinned again."""
        cache = make_cache(pinned=frozenset({"p"}))
        if state != "empty":
            held = hold(cache, "p")
            held.leaving = state == "leaving"
            held.leave_when_idle = state == "pinned but unloaded"
        if state == "used":
            cache.lease(hold(cache, "a"), None)

        assert cache.may_free == (state not in {"empty", "pinned"})

    @pytest.mark.parametrize("kind", ["loads", "given up"])
    def test_room_may_come_from_a_load(self, kind):
        """It may be evicted once it is there, or it has still to end."""
        cache = make_cache()
        cache.begin("a", 0, 0.0, speculative=True)
        if kind == "given up":
            cache.abort("a")

        assert cache.may_free


class TestLeases:
    def test_a_model_takes_as_many_answers_as_it_has_slots(self):
        """And none while it leaves."""
        cache = make_cache()
        held = hold(cache, "a", slots=2)
        cache.lease(held, None, "anna")
        assert held.takes
        cache.lease(held, None, "anna")
        assert not held.takes
        assert held.clients == {"anna": 2}

        cache.release("a", 1.0, "anna")

        assert held.takes
        for flag in ("leaving", "leave_when_idle", "yielding"):
            setattr(held, flag, True)
            assert not held.takes
            setattr(held, flag, False)

    def test_only_an_answer_that_began_can_end(self):
        """Twice the same end, or one of a model that has gone, counts nothing."""
        cache = make_cache()
        cache.lease(hold(cache, "a"), None, "anna")
        assert cache.release("a", 1.0, "ben") is None
        assert cache.release("a", 1.0, "anna") is not None
        assert cache.release("a", 1.0, "anna") is None
        assert cache.release("nobody", 1.0) is None

        assert cache.num_leases == 0

    def test_the_answers_of_a_process_end_with_it(self):
        """None is counted any more."""
        cache = make_cache()
        cache.lease(hold(cache, "a"), None, "anna")
        cache.lease(hold(cache, "b"), None, "anna")

        gone = cache.gone("a")

        assert gone is not None
        assert gone.clients == {"anna": 1}
        assert cache.num_leases == 1
        assert cache.gone("a") is None


class TestKeepAlive:
    def test_each_answer_says_for_how_long_its_model_stays(self):
        """One without a wish goes by the settings."""
        cache = make_cache(keep_alive_s=60.0)
        held = hold(cache, "a")
        assert held.keep_alive_s == 60.0
        cache.lease(held, 5.0)
        assert held.keep_alive_s == 5.0

        cache.lease(held, None)

        assert held.keep_alive_s == 60.0

    @pytest.mark.parametrize(
        ("keep_alive_s", "idle_s", "expires"),
        [(-1.0, 1e9, False), (0.0, 0.0, True), (5.0, 4.9, False), (5.0, 5.0, True)],
    )
    def test_it_is_over_after_so_long_without_an_answer(self, keep_alive_s, idle_s, expires):
        """Negative is for ever, 0 is at once."""
        cache = make_cache(keep_alive_s=keep_alive_s)
        cache.lease(hold(cache, "a"), None)
        cache.release("a", 100.0)

        assert cache.expired(100.0 + idle_s) == (["a"] if expires else [])

    @pytest.mark.parametrize("state", ["used", "leaving", "pinned"])
    def test_it_is_never_over_for_one_that_is_used_leaves_or_is_pinned(self, state):
        """The first cannot leave, the second does, the third is not to."""
        cache = make_cache(keep_alive_s=0.0, pinned=frozenset({"a"} if state == "pinned" else ()))
        held = hold(cache, "a")
        held.leaving = state == "leaving"
        if state == "used":
            cache.lease(held, None)

        assert cache.expired(1e9) == []

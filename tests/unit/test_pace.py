"""What is measured of answers and loads, and the times that are promised by it."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from orion.scheduling import Pace, Promises
from orion.scheduling.pace import LOAD_PRIOR_S, SERVICE_PRIOR_S, Mean


class TestMean:
    def test_its_first_samples_weigh_the_same(self):
        """What was assumed counts no more once something was measured."""
        mean = Mean(100.0)
        for sample in (1.0, 2.0, 3.0):
            mean.add(sample)

        assert mean.value == pytest.approx(2.0)

    def test_it_follows_what_changes(self):
        """Twenty samples on, the past weighs next to nothing."""
        mean = Mean(0.0)
        for sample in [1.0] * 50 + [10.0] * 20:
            mean.add(sample)

        assert 9.8 < mean.value < 10.0


class TestPace:
    def test_it_assumes_something_until_it_knows(self):
        """A first estimate is better than none."""
        pace = Pace()

        assert (pace.service_s(), pace.service_s("a")) == (SERVICE_PRIOR_S, SERVICE_PRIOR_S)
        assert pace.load_s("a") == LOAD_PRIOR_S

    def test_a_model_that_was_never_timed_is_taken_to_be_like_the_others(self):
        """What was measured on this machine says more than what was assumed."""
        pace = Pace()
        pace.served("a", 9.0)
        pace.loaded("a", 20.0)

        assert pace.service_s("b") == 9.0
        assert pace.load_s("b") == 20.0

    def test_each_model_has_its_own(self):
        """A small one beside a large one."""
        pace = Pace()
        for _ in range(5):
            pace.served("small", 1.0)
            pace.served("large", 30.0)

        assert (pace.service_s("small"), pace.service_s("large")) == (1.0, 30.0)
        assert 1.0 < pace.service_s() < 30.0

    def test_it_is_known_after_five_answers(self):
        """One of them may have been cut short, or cold."""
        pace = Pace()
        for _ in range(4):
            pace.served("a", 1.0)
        assert not pace.is_known("a")

        pace.served("a", 1.0)

        assert pace.is_known("a")

    def test_it_forgets_a_model_that_is_not_what_it_was(self):
        """Its entry in the registry changed."""
        pace = Pace()
        for _ in range(5):
            pace.served("a", 1.0)
            pace.loaded("a", 1.0)
        pace.forget("a")
        pace.forget("nobody")

        assert not pace.is_known("a")


class TestPromises:
    def test_the_later_of_two_refusals_is_told_a_later_time(self):
        """Those told the same time would meet again."""
        promises = Promises()

        told = [promises.next("", now_s=0.0, first_s=4.0, every_s=2.0) for _ in range(5)]

        assert told == sorted(set(told))
        assert told[0] == 4.0
        assert min(after - before for before, after in pairwise(told)) >= 2.0

    def test_nobody_is_told_to_come_back_within_a_second(self):
        """`Retry-After` counts in seconds."""
        assert Promises().next("", now_s=0.0, first_s=0.01, every_s=0.001) == 1.0

    def test_nobody_is_told_more_than_an_hour(self):
        """What comes later cannot be known."""
        promises = Promises()
        told = [promises.next("", now_s=0.0, first_s=1.0, every_s=500.0) for _ in range(20)]

        assert max(told) == 3600.0

    def test_times_that_have_passed_hold_nobody_back(self):
        """After a quiet while the next refusal is told the first time again."""
        promises = Promises()
        for _ in range(5):
            promises.next("", now_s=0.0, first_s=4.0, every_s=2.0)

        assert promises.next("", now_s=1000.0, first_s=4.0, every_s=2.0) == 4.0

    def test_each_client_has_a_line_of_its_own(self):
        """What one was told does not hold back another."""
        promises = Promises()
        for _ in range(5):
            promises.next("anna", now_s=0.0, first_s=4.0, every_s=2.0)

        assert promises.next("ben", now_s=0.0, first_s=4.0, every_s=2.0) == 4.0
        assert promises.next("", now_s=0.0, first_s=4.0, every_s=2.0) == 4.0

    def test_it_remembers_so_many_clients_and_no_more(self):
        """And the system's own line whoever comes."""
        promises = Promises()
        system = promises.next("", now_s=0.0, first_s=4.0, every_s=2.0)
        for number in range(3000):
            promises.next(f"client{number}", now_s=0.0, first_s=4.0, every_s=2.0)

        assert len(promises._booked) <= 1024
        assert promises.next("", now_s=0.0, first_s=4.0, every_s=2.0) > system

    def test_two_threads_are_never_promised_the_same_place(self):
        """The face asks from its own threads."""
        promises = Promises()
        told: list[float] = []

        def ask() -> None:
            told.extend(promises.next("", now_s=0.0, first_s=1.0, every_s=1.0) for _ in range(500))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10.0)

        assert len(set(told)) == len(told) == 2000

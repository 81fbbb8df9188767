"""Who may wait, who hears that it may not, and when it is told to come back."""

from __future__ import annotations

import threading

import pytest

from orion.clock import ManualClock
from orion.errors import BacklogError, OverloadedError, TooLateError, TooManyRequestsError
from orion.scheduling import Scheduler, Waiter
from tests.fakes.effects import Recorder, ask, make_scheduler, resident


@pytest.fixture
def effects() -> Recorder:
    return Recorder()


@pytest.fixture
def scheduler(effects: Recorder) -> Scheduler:
    """Room for eight: two run, six wait; a share is four."""
    scheduler = make_scheduler(effects, queue_max=6)
    resident(scheduler, effects, "a")
    return scheduler


def names(count: int, client: str = "r") -> list[str]:
    return [f"{client}{number}" for number in range(count)]


class TestFull:
    def test_a_full_queue_refuses_with_a_time_to_come_back(self, scheduler, effects):
        """Two run, six wait, the ninth is told when to try again."""
        ask(scheduler, *names(8))
        ask(scheduler, "late")

        error = effects.errors["late"]
        assert type(error) is OverloadedError
        assert error.facts["queue_max"] == 6
        assert error.facts["retry_after_s"] >= 1.0
        assert (scheduler.running, scheduler.num_waiting) == (2, 6)

    def test_no_queue_at_all_still_fills_the_slots(self, effects):
        """`queue_max` counts those who wait beyond what can run."""
        scheduler = make_scheduler(effects, queue_max=0)
        ask(scheduler, *names(3))

        assert effects.take() == [("load", "a"), ("refuse", "r2", "overloaded")]

    def test_capacity_counts_free_places_and_what_is_resident(self, effects):
        """A model may have fewer slots than was assumed."""
        scheduler = make_scheduler(effects, places=2, default_slots=4)

        assert scheduler.capacity == 8
        resident(scheduler, effects, "a", slots=1)
        assert scheduler.capacity == 5

    def test_those_behind_a_refused_one_are_not_refused_for_it(self, scheduler, effects):
        """A place that becomes free is for whoever comes next."""
        ask(scheduler, *names(8))
        ask(scheduler, "late")
        scheduler.on_release("a")

        ask(scheduler, "later")

        assert set(effects.errors) == {"late"}


class TestShare:
    def test_one_client_alone_may_fill_the_system(self, scheduler, effects):
        """Nobody else wants it. Then it is full, for it as for everybody."""
        ask(scheduler, *names(8), client="anna")
        assert effects.errors == {}

        ask(scheduler, "more", client="anna")

        error = effects.errors["more"]
        assert isinstance(error, OverloadedError)
        assert error.facts["retry_after_s"] >= 1.0

    def test_while_others_are_here_a_client_holds_half_at_most(self, scheduler, effects):
        """Running and waiting together; the other half stays free for others."""
        ask(scheduler, "b1", client="ben")
        ask(scheduler, *names(5), client="anna")

        assert set(effects.errors) == {"r4"}
        assert isinstance(effects.errors["r4"], TooManyRequestsError)
        assert scheduler.shares.held("anna") == 4

    def test_in_a_full_system_a_newcomer_takes_the_place_of_the_newest_of_a_hog(
        self, scheduler, effects
    ):
        """One who asked first for everything does not keep it once others ask."""
        ask(scheduler, *names(8), client="anna")
        ask(scheduler, "b1", client="ben")

        assert isinstance(effects.errors["r7"], TooManyRequestsError)
        assert scheduler.waiting_for("a") == ["r2", "r3", "r4", "r5", "r6", "b1"]

    def test_others_get_as_much_as_the_hog_keeps(self, scheduler, effects):
        """It is pushed back to its share, never below."""
        ask(scheduler, *names(8), client="anna")
        for client in ("ben", "cem", "dora", "emil", "fay"):
            ask(scheduler, f"of-{client}", client=client)

        assert list(effects.errors) == ["r7", "r6", "r5", "r4", "of-fay"]
        assert isinstance(effects.errors["of-fay"], OverloadedError)
        assert scheduler.shares.held("anna") == 4

    def test_nobody_is_displaced_while_there_is_room(self, scheduler, effects):
        """Holding more than half is no fault while nobody else needs it."""
        ask(scheduler, *names(7), client="anna")
        ask(scheduler, "b1", client="ben")

        assert effects.errors == {}

    def test_an_answer_under_way_is_never_displaced(self, effects):
        """The hog runs in every slot: the newcomer is refused."""
        scheduler = make_scheduler(effects, queue_max=0, default_slots=4)
        resident(scheduler, effects, "a", slots=4)
        ask(scheduler, *names(4), client="anna")

        ask(scheduler, "b1", client="ben")

        assert isinstance(effects.errors["b1"], OverloadedError)
        assert scheduler.running == 4

    def test_one_that_goes_on_elsewhere_is_never_displaced(self, scheduler, effects):
        """It was admitted before."""
        ask(scheduler, *names(8), client="anna")
        for number in range(2):
            scheduler.on_handover(Waiter(f"r{number}", "b", client="anna"), "a")
        for client in ("ben", "cem", "dora"):
            ask(scheduler, f"of-{client}", client=client)

        assert not {"r0", "r1"} & effects.errors.keys()
        assert scheduler.waiting(resuming=True) == ["r0", "r1"]

    def test_nobody_in_particular_has_no_share(self, scheduler, effects):
        """Callers without a name fill the system, and hear 503 and not 429."""
        ask(scheduler, "b1", client="ben")
        ask(scheduler, *names(8))

        assert set(effects.errors) == {"r7"}
        assert type(effects.errors["r7"]) is OverloadedError

    def test_a_client_whose_requests_end_may_come_again(self, scheduler, effects):
        """What has ended is held no more."""
        ask(scheduler, "b1", client="ben")
        ask(scheduler, *names(4), client="anna")
        scheduler.on_release("a", "ben")
        scheduler.on_release("a", "anna")

        ask(scheduler, "more", client="anna")

        assert effects.errors == {}


class TestBacklog:
    @pytest.fixture
    def scheduler(self, effects):
        scheduler = make_scheduler(effects, queue_max=20, queue_tokens=1000, default_slots=1)
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "runs", tokens=900)
        return scheduler

    def test_those_that_wait_hold_so_many_tokens_at_most(self, scheduler, effects):
        """A few long prompts wait for as long as many short ones."""
        ask(scheduler, "r1", "r2", tokens=400)
        ask(scheduler, "r3", tokens=201)

        error = effects.errors["r3"]
        assert isinstance(error, BacklogError)
        assert error.facts["queue_tokens"] == 1000
        assert error.facts["retry_after_s"] >= 1.0
        assert scheduler.waiting_tokens == 800

    def test_what_is_still_small_enough_may_wait(self, scheduler, effects):
        """To the last token."""
        ask(scheduler, "r1", "r2", tokens=400)
        ask(scheduler, "r3", tokens=200)

        assert effects.errors == {}

    def test_one_request_alone_may_always_wait(self, scheduler, effects):
        """However long it is: it could never be asked otherwise."""
        ask(scheduler, "r1", tokens=50_000)

        assert effects.errors == {}

    def test_who_need_not_wait_is_let_in_however_long_it_is(self, effects):
        """The bound is for those that wait."""
        scheduler = make_scheduler(effects, queue_tokens=10, queue_max=8)
        resident(scheduler, effects, "a")
        ask(scheduler, "r1", tokens=9)
        ask(scheduler, "r2", model="b", tokens=9)
        ask(scheduler, "r3", tokens=5000)

        assert effects.granted() == ["r1", "r3"]

    def test_what_leaves_or_runs_is_not_counted_any_more(self, scheduler, effects):
        """The room it took is there again."""
        ask(scheduler, "r1", "r2", tokens=500)
        scheduler.on_leave("r1")
        scheduler.on_release("a")

        assert scheduler.waiting_tokens == 0


class TestDeadline:
    @pytest.fixture
    def scheduler(self, effects):
        scheduler = make_scheduler(effects, queue_max=20, default_slots=1)
        resident(scheduler, effects, "a", slots=1)
        ask(scheduler, "runs")
        ask(scheduler, *names(3, "w"))
        return scheduler

    def measure(self, scheduler: Scheduler, seconds: float, model: str = "a") -> None:
        for _ in range(5):
            scheduler.pace.served(model, seconds)

    def test_what_cannot_begin_in_time_is_refused_at_the_door(self, scheduler, effects):
        """Four answers of ten seconds are before it: it would wait in vain for half a minute."""
        self.measure(scheduler, 10.0)
        ask(scheduler, "r1", deadline_s=scheduler.clock.now() + 30.0)

        error = effects.errors["r1"]
        assert isinstance(error, TooLateError)
        assert (error.facts["wait_s"], error.facts["limit_s"]) == (40.0, 30.0)

    def test_what_can_begin_in_time_waits(self, scheduler, effects):
        """Its deadline is past the wait."""
        self.measure(scheduler, 10.0)
        ask(scheduler, "r1", deadline_s=scheduler.clock.now() + 41.0)

        assert effects.errors == {}

    def test_nobody_is_refused_by_a_guess(self, scheduler, effects):
        """Until answers of that model were timed, how long they take is not known."""
        for _ in range(4):
            scheduler.pace.served("a", 10.0)
        self.measure(scheduler, 10.0, model="b")
        ask(scheduler, "r1", deadline_s=scheduler.clock.now() + 1.0)

        assert effects.errors == {}

    def test_who_need_not_wait_has_time_enough(self, effects):
        """A free slot is now."""
        scheduler = make_scheduler(effects)
        resident(scheduler, effects, "a")
        self.measure(scheduler, 10.0)
        ask(scheduler, "r1", deadline_s=scheduler.clock.now() + 0.1)

        assert effects.take() == [("grant", "r1", "a")]


class TestRefusalFromOutside:
    def test_it_tells_what_a_newcomer_would_hear(self, scheduler, effects):
        """Before a request is read at all."""
        assert scheduler.door.refusal("ben") is None
        ask(scheduler, *names(4), client="anna")
        assert scheduler.door.refusal("anna") is None
        ask(scheduler, *names(4))

        assert isinstance(scheduler.door.refusal("anna"), TooManyRequestsError)
        assert type(scheduler.door.refusal("ben")) is OverloadedError
        assert type(scheduler.door.refusal("")) is OverloadedError

    def test_a_newcomer_is_not_turned_away_where_a_hog_would_make_room(self, scheduler, effects):
        """The decision is taken when it is here."""
        ask(scheduler, *names(8), client="anna")

        assert scheduler.door.refusal("ben") is None

    def test_it_may_be_asked_from_any_thread_while_the_scheduler_works(self):
        """Also for how long one would wait: nothing it reads may change under it."""
        effects = Recorder()
        scheduler = make_scheduler(effects, ManualClock(), queue_max=64)
        failures: list[BaseException] = []
        over = threading.Event()

        def look() -> None:
            try:
                while not over.is_set():
                    scheduler.door.refusal("anna")
                    scheduler.door.wait_s("m7", 3)
                    assert scheduler.shares.num_clients >= 0
            except BaseException as error:  # noqa: BLE001 - it is told below
                failures.append(error)

        watchers = [threading.Thread(target=look) for _ in range(2)]
        for watcher in watchers:
            watcher.start()
        for number in range(3000):
            model, client = f"m{number % 8}", f"c{number % 5}"
            scheduler.on_request(Waiter(f"r{number}", model, client=client))
            if number % 3:
                scheduler.on_leave(f"r{number - 1}")
        over.set()
        for watcher in watchers:
            watcher.join(10.0)

        assert failures == []

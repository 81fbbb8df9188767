"""Models that come on a guess, stay, leave and change; what those that wait are told."""

from __future__ import annotations

import pytest

from orion.dispatcher import Attempt, FellBack, Granted, Ticket
from orion.errors import (
    BacklogError,
    ModelTooLargeError,
    NoRoomError,
    OverloadedError,
    TooManyRequestsError,
)
from orion.protocol import Generate, Load, LoadFailed
from tests.fakes.hall import Hall, done, error_of, heard, kinds, stood


def asked(hall: Hall, *models: str, name: str = "q", **given: object) -> Ticket:
    """A request that may be answered on each of `models`, in this order."""
    attempts = tuple(
        Attempt(
            model=model,
            agent=f"on-{model}",
            breaker=f"on-{model}",
            generate=Generate(request_id=name, messages=[["user", "x"]], sampling={}),
        )
        for model in models
    )
    ticket = Ticket(request_id=name, attempts=attempts, **given)  # type: ignore[arg-type]
    hall.dispatcher.submit(ticket)
    hall.settle()
    return ticket


def resident(hall: Hall) -> list[str]:
    return [row["model"] for row in hall.dispatcher.models() if row["state"] == "resident"]


def loads(hall: Hall) -> list[str]:
    return [load.model for worker in hall.works.workers for load in worker.received(Load)]


def prefetch(hall: Hall, model: str) -> None:
    hall.dispatcher.prefetch(model)
    hall.settle()


class TestGuesses:
    def test_a_guess_is_loaded_into_a_free_place(self, make_hall):
        """And whoever asks finds it there; the observer hears of the time that was saved."""
        hall = make_hall(places=2)
        hall.load("a")

        prefetch(hall, "b")
        hall.clock.advance(3.0)
        hall.holder("b").has_loaded()
        hall.settle()
        ticket = asked(hall, "b")

        assert [type(message) for message in heard(ticket)] == [Granted]
        assert ("loaded", "b", {"seconds": 3.0, "speculative": True}) in hall.observed
        granted = [facts for event, _, facts in hall.observed if event == "granted"]
        assert granted == [{"speculative": True, "load_s_saved": 3.0, "ahead_s": 3.0}]

    def test_a_guess_takes_the_place_of_an_idle_model(self, hall):
        """Evict before load."""
        hall.load("a")

        prefetch(hall, "b")

        assert (loads(hall)[-1], resident(hall)) == ("b", [])

    def test_a_guess_never_takes_the_place_of_a_model_in_use(self, hall):
        """Nor loads beside it: that would slow the answer."""
        hall.load("a")
        hall.ask("a")

        prefetch(hall, "b")

        assert "b" not in loads(hall)

    def test_a_guess_is_given_up_for_a_request(self, hall):
        """Its worker is ended, and that is nobody's failure."""
        prefetch(hall, "b")
        guess = hall.holder("b")

        ticket = hall.ask("a")
        hall.settle()

        assert guess.gone
        assert loads(hall) == ["b", "a"]
        hall.holder("a").has_loaded()
        hall.settle()
        assert kinds(ticket) == ["Granted"]
        assert hall.dispatcher.tally.deaths == 0
        assert hall.breakers.get("load:b", hall.rules).snapshot()["failures"] == 0
        assert ("gone", "b", {"speculative_unused": True}) in hall.observed

    def test_a_guess_that_is_asked_for_is_joined(self, hall):
        """One load, and the request waits for the rest of it."""
        prefetch(hall, "b")
        ticket = hall.ask("b")
        hall.holder("b").has_loaded()
        hall.settle()

        assert loads(hall) == ["b"]
        assert kinds(ticket)[-1] == "Granted"

    def test_a_guess_that_fails_is_not_tried_again(self, make_hall):
        """Nobody asked for it."""
        hall = make_hall(used_models=frozenset({"a", "b"}))
        prefetch(hall, "b")
        worker = hall.holder("b")
        facts = {"model": "b", "reason": "no"}
        worker.say(LoadFailed(model="b", code="load_failed", facts=facts))
        hall.settle()
        hall.pass_time(60.0)

        assert loads(hall) == ["b"]
        assert hall.dispatcher.missing == frozenset()

    def test_a_guess_that_fails_is_told_as_one_that_was_given_up(self, hall):
        """Or nobody would guess it again for a while."""
        prefetch(hall, "b")
        hall.holder("b").exit(-9)
        hall.settle()

        assert ("gone", "b", {"speculative_unused": True}) in hall.observed

    def test_a_guess_that_fails_is_nobodys_trouble(self, hall):
        """No request has met it, so health does not tell of it; the log does."""
        prefetch(hall, "b")
        hall.holder("b").exit(-9)
        hall.settle()

        assert hall.dispatcher.load_errors == {}
        assert hall.dispatcher.last_load_error is not None

    def test_a_guess_that_somebody_joined_fails_for_them(self, make_hall):
        """As any load would."""
        hall = make_hall(used_models=frozenset({"b"}))
        prefetch(hall, "b")
        ticket = hall.ask("b")
        hall.holder("b").exit(-9)
        hall.settle()

        assert error_of(ticket).code == "load_failed"
        assert list(hall.dispatcher.load_errors) == ["b"]
        assert hall.dispatcher.missing == frozenset({"b"})

    def test_whoever_guesses_hears_whether_anything_comes_of_it(self, make_hall):
        """A pinned model holds the only place."""
        hall = make_hall(places=2, pinned=frozenset({"a"}))
        hall.load("a")
        assert hall.dispatcher.prefetch("b", wait_s=10.0)

        full = make_hall(pinned=frozenset({"a"}))
        full.load("a")
        assert not full.dispatcher.prefetch("b", wait_s=10.0)

    def test_one_that_is_given_up_is_there_until_its_process_has_gone(self, hall):
        """Its place is taken for as long."""
        hall.works.polite = False
        prefetch(hall, "b")
        guess = hall.holder("b")
        hall.ask("a")

        rows = [(row["model"], row["state"]) for row in hall.dispatcher.models()]
        assert rows == [("b", "leaving")]
        hall.works.polite = True
        guess.exit(-15)
        hall.settle()
        assert [row["model"] for row in hall.dispatcher.models()] == ["a"]

    def test_no_guess_while_the_engine_drains(self, hall):
        """It is about to end."""
        hall.dispatcher._inbox.put(hall.dispatcher._drain)

        prefetch(hall, "b")

        assert loads(hall) == []


class TestStaying:
    def test_a_model_leaves_after_an_answer_that_was_to_be_its_last(self, hall):
        """`keep_alive` 0."""
        worker = hall.load("a")
        ticket = asked(hall, "a", keep_alive_s=0.0)
        worker.say(done(ticket))
        hall.settle()

        assert worker.gone
        assert resident(hall) == []

    def test_an_idle_model_leaves_when_its_time_is_over(self, make_hall):
        """The settings' time, counted from its last answer."""
        hall = make_hall(keep_alive_s=60.0)
        worker = hall.load("a")
        hall.pass_time(59.0)
        assert resident(hall) == ["a"]
        assert hall.dispatcher.models()[0]["expires_in_s"] == pytest.approx(1.0, abs=0.2)

        hall.pass_time(1.5)

        assert worker.gone

    def test_a_pinned_model_stays(self, make_hall):
        """Neither idleness nor another model moves it; who needs its place is told so."""
        hall = make_hall(keep_alive_s=1.0, pinned=frozenset({"a"}))
        hall.load("a")
        hall.pass_time(5.0)

        ticket = hall.ask("b")

        assert resident(hall) == ["a"]
        assert isinstance(error_of(ticket), NoRoomError)

    def test_a_pin_can_be_taken_out(self, make_hall):
        """And put in, at any time."""
        hall = make_hall()
        hall.load("a")
        hall.dispatcher.pin("a", pinned=True)
        hall.settle()
        assert isinstance(error_of(hall.ask("b")), NoRoomError)

        hall.dispatcher.pin("a", pinned=False)
        hall.settle()
        hall.ask("b")

        assert loads(hall)[-1] == "b"

    def test_a_retired_model_comes_back_as_it_is_now(self, make_hall):
        """Once idle it goes; agents use it, so it is loaded again, pinned as before."""
        hall = make_hall(used_models=frozenset({"a"}), pinned=frozenset({"a"}))
        worker = hall.load("a")
        ticket = hall.ask("a")
        hall.dispatcher.retire(["a"])
        hall.settle()
        assert not worker.gone

        worker.say(done(ticket))
        hall.settle()
        hall.pass_time(1.0)

        assert worker.gone
        assert loads(hall) == ["a", "a"]
        hall.holder("a").has_loaded()
        hall.settle()
        assert hall.dispatcher.models()[0]["pinned"] is True

    def test_a_model_that_is_retired_while_it_loads_is_loaded_anew(self, hall):
        """Who waits may know it only as it is now; nobody is answered by what it was."""
        ticket = hall.ask("a")
        old = hall.holder("a")
        hall.dispatcher.retire(["a"])
        hall.settle()
        late = asked(hall, "a", name="late")
        assert old.gone

        hall.holder("a").has_loaded()
        hall.settle()

        assert loads(hall) == ["a", "a"]
        assert kinds(ticket)[-1] == kinds(late)[-1] == "Granted"
        assert hall.breakers.get("load:a", hall.rules).snapshot()["failures"] == 0

    def test_a_guess_that_is_retired_while_it_loads_is_given_up(self, make_hall):
        """Nobody waits for it."""
        hall = make_hall(used_models=frozenset({"a", "b"}))
        prefetch(hall, "b")
        hall.dispatcher.retire(["b"])
        hall.settle()
        hall.pass_time(5.0)

        assert loads(hall) == ["b"]
        assert hall.dispatcher.models() == []

    def test_a_retired_model_that_nobody_uses_stays_away(self, hall):
        """Its entry went."""
        worker = hall.load("a")
        hall.dispatcher.retire(["a"])
        hall.settle()
        hall.pass_time(5.0)

        assert worker.gone
        assert loads(hall) == ["a"]


class TestTheEnd:
    def test_nothing_is_said_to_load_when_all_is_over(self, make_hall):
        """A load under way ends with the rest."""
        hall = make_hall()
        hall.ask("a")
        hall.close()

        assert hall.dispatcher.models() == []


class TestRoom:
    def test_a_model_larger_than_the_machine_is_refused_at_once(self, make_hall):
        """Nothing is evicted for it; the next agent answers."""
        hall = make_hall(total_bytes=1000)
        worker = hall.load("a")
        hall.dispatcher._desk._planned_bytes["b"] = 2000

        ticket = asked(hall, "b", "a")

        messages = heard(ticket)
        assert isinstance(messages[0], FellBack)
        assert isinstance(messages[0].error, ModelTooLargeError)
        assert isinstance(messages[1], Granted)
        assert not worker.gone

    def test_what_found_no_room_is_planned_anew(self, make_hall):
        """With as many slots as there is room for by then."""
        hall = make_hall(places=2)
        hall.free_bytes = 1000
        hall.dispatcher._desk._planned_bytes["b"] = 2000
        ticket = asked(hall, "b")
        hall.pass_time(3.0)
        assert isinstance(error_of(ticket), NoRoomError)

        hall.ask("b")

        assert loads(hall) == ["b"]

    def test_what_a_worker_grows_to_is_what_its_model_takes(self, hall):
        """Measured, not planned."""
        hall.load("a")

        assert hall.dispatcher.models()[0]["bytes"] == 1000


class TestWaiting:
    def test_each_is_told_where_it_stands(self, hall):
        """At once, and again when it has moved up."""
        worker = hall.load("a", slots=1)
        first, second, third = hall.ask(), hall.ask(), hall.ask()
        assert stood(third) == [(2, None)]  # nothing was timed yet

        hall.clock.advance(4.0)
        worker.say(done(first))
        hall.settle()
        hall.pass_time(0.3)

        assert kinds(second) == ["Granted"]
        assert stood(third) == [(1, 4.0)]

    def test_a_client_over_its_share_hears_so(self, make_hall):
        """429, and no other agent is asked."""
        hall = make_hall(queue_max=2)
        hall.load("a")
        asked(hall, "a", name="other", client="other")
        mine = [asked(hall, "a", "b", name=f"m{number}", client="me") for number in range(3)]

        assert isinstance(error_of(mine[2]), TooManyRequestsError)
        assert hall.dispatcher.tally.refusals == {"too_many_requests": 1}

    def test_a_full_system_is_full_for_all(self, hall):
        """503 with a time to come back."""
        hall.load("a")
        for _ in range(4):
            hall.ask()

        error = error_of(hall.ask())

        assert isinstance(error, OverloadedError)
        assert error.retry_after_s >= 1.0
        assert hall.dispatcher.refusal("somebody") is not None

    def test_text_that_waits_is_bounded(self, make_hall):
        """By tokens, as far as they can be guessed."""
        hall = make_hall(queue_tokens=100, queue_max=9)
        hall.load("a", slots=1)
        texts = ("word " * 60,)
        for number in range(2):
            asked(hall, "a", name=f"long{number}", content=texts)

        refused = asked(hall, "a", name="more", content=texts)

        assert isinstance(error_of(refused), BacklogError)
        assert hall.dispatcher.queue()["tokens"] <= 100


class TestObserver:
    def test_an_observer_that_fails_stops_nothing(self, make_hall):
        """What it hears is not its to decide."""
        hall = make_hall()

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        hall.dispatcher._desk.observer = broken
        hall.load("a")

        assert kinds(hall.ask("a")) == ["Granted"]
        assert "observer.failed" in hall.log.lines

"""Equal questions at once: one generation, heard by all, whoever goes."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from typing import Any

import pytest

from orion.dispatcher import Ended, Granted, Queued
from orion.engine.walk import Walk
from orion.errors import (
    DeadlineExceededError,
    GenerationError,
    SlowReaderError,
    TooManyRequestsError,
)
from orion.protocol import Delta, Done
from orion.types import DeltaEvent, ErrorEvent, FinalEvent, ProgressEvent, Query, RouteEvent

GREEDY: dict[str, Any] = {"temperature": 0, "session": "s1"}
ENDLESS = "tokens=20000 delay=0.002"
LIMIT_S = 30.0


def counts(engine: Any) -> dict[str, Any]:
    return dict(engine.stats()["answer_cache"])


def made(engine: Any, least: int) -> int:
    """Tokens the worker has made, as soon as its heartbeat tells of `least`."""
    pause = threading.Event()
    while (count := sum(worker["num_tokens"] for worker in engine.stats()["workers"])) < least:
        pause.wait(0.01)
    return count


def until(stream: Any, kind: type[Any]) -> Any:
    return next(event for event in stream if isinstance(event, kind))


@pytest.fixture
def one_slot(make_fake_engine):
    """One answer at a time, and nobody may wait."""
    return make_fake_engine(
        worker={"slots": 1, "spares": 0}, stream={"heartbeat_s": 0.02}, queue_max=0
    )


class TestMany:
    def test_a_hundred_equal_questions_are_one_generation(self, one_slot):
        """None is refused, though there is one slot and no queue; all get the same text."""
        answers: list[Any] = []
        barrier = threading.Barrier(100)

        def ask() -> None:
            barrier.wait(LIMIT_S)
            answers.append(one_slot.ask("tokens=40 delay=0.005", **GREEDY))

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)

        assert len(answers) == 100
        assert {answer.text for answer in answers} == {"".join(f"t{n} " for n in range(40))}
        assert Counter(answer.cached for answer in answers) == {True: 99, False: 1}
        assert one_slot.ask("tokens=3").text == "t0 t1 t2 "
        assert made(one_slot, least=43) == 43
        found = counts(one_slot)
        assert (found["misses"], found["joined"] + found["hits"]) == (1, 99)
        assert (found["stored"], found["flights"]) == (1, 0)

    def test_those_who_differ_are_not_joined(self, make_fake_engine):
        """Another session, or no session at all."""
        engine = make_fake_engine(worker={"slots": 4, "spares": 0})
        streams = [
            engine.stream("tokens=300 delay=0.001", temperature=0, session=session)
            for session in ("s1", "s2", None, None)
        ]
        for stream in streams:
            until(stream, DeltaEvent)

        assert engine.stats()["requests"]["running"] == 4
        assert counts(engine)["joined"] == 0
        for stream in streams:
            stream.close()


class TestFollower:
    def test_one_who_comes_late_hears_all_and_says_that_it_joined(self, one_slot):
        """From the beginning; the times are its own, and no speed is claimed."""
        first = one_slot.stream("tokens=100 delay=0.003", **GREEDY)
        until(first, DeltaEvent)
        until(first, DeltaEvent)
        second = list(one_slot.stream("tokens=100 delay=0.003", **GREEDY))
        leading, joined = list(first)[-1].answer, second[-1].answer

        assert joined.text == leading.text
        assert joined.text == "".join(e.text for e in second if isinstance(e, DeltaEvent))
        assert (leading.cached, leading.cached_age_s) == (False, None)
        assert (joined.cached, joined.cached_age_s) == (True, 0.0)
        assert joined.usage == leading.usage
        assert joined.states == leading.states
        timings = joined.timings
        assert (timings.start, timings.load_s, timings.tokens_per_s) == ("warm", 0.0, None)
        assert leading.timings.start == "cold"
        assert min(timings.queue_s, timings.prefill_s, timings.decode_s) >= 0
        parts = timings.guard_s + timings.route_s + timings.queue_s + timings.prefill_s
        assert parts == pytest.approx(timings.ttft_s, abs=1e-6)

    def test_one_who_comes_while_the_model_loads_sees_it_load(self, make_fake_engine):
        """It waits for the rest of the load and is cold, too."""
        engine = make_fake_engine(
            runtime_options={"fake": {"load_s": 0.4}}, stream={"heartbeat_s": 0.02}
        )
        first = engine.stream("hello", **GREEDY)
        next(e for e in first if isinstance(e, ProgressEvent) and e.phase == "loading_shard")
        second = list(engine.stream("hello", **GREEDY))
        phases = {event.phase for event in second if isinstance(event, ProgressEvent)}
        joined, leading = second[-1].answer.timings, list(first)[-1].answer.timings

        assert "loading_shard" in phases
        assert joined.start == leading.start == "cold"
        assert 0 < joined.load_s <= leading.load_s
        assert joined.queue_s >= 0

    def test_it_takes_over_with_the_others(self, one_slot):
        """The agent fails, another one goes on, for all of them."""
        first = one_slot.stream("tokens=5 prefill=0.2 fail=0", **GREEDY, agent="code-agent")
        until(first, ProgressEvent)
        second = list(one_slot.stream("tokens=5 prefill=0.2 fail=0", **GREEDY, agent="code-agent"))

        assert isinstance(list(first)[-1], ErrorEvent)
        assert isinstance(second[-1], ErrorEvent)
        assert [e.route.agent for e in second if isinstance(e, RouteEvent)] == [
            "code-agent", "conversation-agent",
        ]  # fmt: skip
        assert (counts(one_slot)["joined"], counts(one_slot)["stored"]) == (1, 0)


class TestLeaving:
    @pytest.mark.parametrize("how", ["close", "cancel"])
    def test_the_first_one_goes_and_the_other_hears_the_whole(self, one_slot, how):
        """A leader is nobody special."""
        first = one_slot.stream("tokens=60 delay=0.003", **GREEDY, request_id="r1")
        until(first, DeltaEvent)
        second = one_slot.stream("tokens=60 delay=0.003", **GREEDY)
        until(second, DeltaEvent)
        if how == "close":
            first.close()
        else:
            one_slot.cancel("r1")
            assert list(first)[-1].answer.finish_reason == "cancelled"
        answer = list(second)[-1].answer

        assert answer.text == "".join(f"t{n} " for n in range(60))
        assert one_slot.ask("tokens=60 delay=0.003", **GREEDY).cached
        assert one_slot.ask("tokens=3").text == "t0 t1 t2 "
        assert made(one_slot, least=63) == 63

    def test_a_follower_goes_and_the_first_one_goes_on(self, one_slot):
        """Its cancel is its own."""
        first = one_slot.stream("tokens=60 delay=0.003", **GREEDY)
        until(first, DeltaEvent)
        second = one_slot.stream("tokens=60 delay=0.003", **GREEDY, request_id="r2")
        until(second, DeltaEvent)
        one_slot.cancel("r2")

        assert list(second)[-1].answer.finish_reason == "cancelled"
        assert list(first)[-1].answer.finish_reason == "stop"

    def test_a_cancel_in_the_moment_of_joining_holds(self, one_slot):
        """It comes when there is a seat that nobody knows of yet."""
        first = one_slot.stream(ENDLESS, **GREEDY)
        until(first, DeltaEvent)

        class Hasty:
            def __getattr__(self, name: str) -> Any:
                return getattr(one_slot._services.answer_cache, name)

            def board(self, *given: Any, **options: Any) -> Any:
                seat = one_slot._services.answer_cache.board(*given, **options)
                walk.cancel()
                return seat

        services = dataclasses.replace(one_slot._services, answer_cache=Hasty())
        walk = Walk(services, Query(text=ENDLESS, **GREEDY))
        last = list(walk.events())[-1]

        assert last.answer.finish_reason == "cancelled"
        until(first, DeltaEvent)
        first.close()
        assert counts(one_slot)["flights"] == 0

    def test_all_go_and_the_worker_stops(self, one_slot):
        """The slot is free for another question."""
        streams = [one_slot.stream(ENDLESS, **GREEDY) for _ in range(3)]
        for stream in streams:
            until(stream, DeltaEvent)
        assert one_slot.stats()["requests"]["running"] == 1
        for stream in streams:
            stream.close()

        pause = threading.Event()
        while one_slot.stats()["requests"]["running"]:
            pause.wait(0.01)
        assert made(one_slot, least=1) < 20000
        assert one_slot.ask("hello").text == "echo: hello"
        assert counts(one_slot)["flights"] == 0

    def test_one_who_waits_no_longer_than_it_may_goes_alone(self, one_slot):
        """A deadline is of the one who set it."""
        first = one_slot.stream(ENDLESS, **GREEDY)
        until(first, DeltaEvent)
        last = list(one_slot.stream(ENDLESS, **GREEDY, deadline_s=0.2))[-1]

        assert isinstance(last, ErrorEvent)
        assert last.error.code == "deadline"
        assert last.error.facts == {"phase": "answering", "limit_s": 0.2}
        assert last.text.startswith("t0 t1 ")
        until(first, DeltaEvent)
        first.close()

    def test_nobody_joins_one_with_a_deadline(self, make_fake_engine):
        """It may end too early for others; but its answer is kept."""
        engine = make_fake_engine(worker={"slots": 2, "spares": 0})
        text = "tokens=30 delay=0.003"
        first = engine.stream(text, **GREEDY, deadline_s=60.0)
        until(first, DeltaEvent)
        second = engine.ask(text, **GREEDY)

        assert not second.cached
        assert list(first)[-1].answer.finish_reason == "stop"
        assert engine.ask(text, **GREEDY, deadline_s=60.0).cached

    def test_a_shutdown_reaches_everyone(self, one_slot):
        """With a reason and what was said."""
        streams = [one_slot.stream(ENDLESS, **GREEDY) for _ in range(3)]
        for stream in streams:
            until(stream, DeltaEvent)
        one_slot.shutdown(grace_s=0.0)
        lasts = [list(stream)[-1] for stream in streams]

        assert {last.error.code for last in lasts} == {"shutting_down"}
        assert all(last.text.startswith("t0 ") for last in lasts)


class Desk:
    """A dispatcher that notes what it is given; the test answers."""

    def __init__(self) -> None:
        self.tickets: list[Any] = []
        self.cancelled: list[str] = []

    def submit(self, ticket: Any) -> None:
        self.tickets.append(ticket)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def prefetch(self, model: str) -> None:
        pass


def answer(ticket: Any) -> None:
    """The whole of a short one."""
    ticket.put(Granted(queue_s=0.0, load_s=0.0, cold=False, runtime="fake", variant="v"))
    ticket.put(Delta(request_id="x", seq=0, text="mine", num_tokens=1))
    ticket.put(
        Done(
            request_id="x",
            finish_reason="stop",
            prompt_tokens=1,
            cached_tokens=0,
            completion_tokens=1,
            prefill_s=0.0,
            decode_s=0.0,
        )
    )


class TestRefusal:
    @pytest.mark.parametrize("public", [False, True])
    def test_a_share_that_is_used_up_is_that_of_its_client(self, make_fake_engine, public):
        """Another client that had joined asks for itself; the same one is refused as well."""
        engine, desk = make_fake_engine(answer_cache={"public": public}), Desk()
        services = dataclasses.replace(engine._services, dispatcher=desk, heartbeat_s=0.01)
        clients = ("c1", "c2") if public else ("c1", "c1")
        streams = [
            Walk(services, Query(text="hello", client=client, **GREEDY)).events()
            for client in clients
        ]
        for stream in streams:
            until(stream, ProgressEvent)
        (ticket,) = desk.tickets
        ticket.put(Queued(position=3, wait_s=2.5))
        progress = [until(stream, ProgressEvent) for stream in streams]
        assert [(one.position, one.wait_s) for one in progress] == [(3, 2.5), (3, 2.5)]
        ticket.put(Ended(error=TooManyRequestsError(held=3, retry_after_s=3.0)))

        lasts = [list(streams[0])[-1]]
        if public:
            until(streams[1], ProgressEvent)
            assert [ticket.client for ticket in desk.tickets] == ["c1", "c2"]
            answer(desk.tickets[1])
        lasts.append(list(streams[1])[-1])

        assert lasts[0].error.code == "too_many_requests"
        if public:
            assert isinstance(lasts[1], FinalEvent)
            assert (lasts[1].answer.text, lasts[1].answer.cached) == ("mine", False)
        else:
            assert lasts[1].error.code == "too_many_requests"
        assert engine.stats()["answer_cache"]["flights"] == 0

    def test_the_first_one_s_time_is_over_and_the_others_is_not(self, make_fake_engine):
        """It came later: it asks for itself, in the time it has left."""
        engine, desk = make_fake_engine(), Desk()
        services = dataclasses.replace(engine._services, dispatcher=desk, heartbeat_s=0.01)
        streams = [Walk(services, Query(text="hello", **GREEDY)).events() for _ in range(2)]
        for stream in streams:
            until(stream, ProgressEvent)
        error = DeadlineExceededError(phase="waiting", limit_s=services.request_s)
        desk.tickets[0].put(Ended(error=error))

        assert list(streams[0])[-1].error.code == "deadline"
        until(streams[1], ProgressEvent)
        answer(desk.tickets[1])
        assert list(streams[1])[-1].answer.text == "mine"

    def test_asking_for_itself_gives_nobody_more_time(self, make_fake_engine):
        """Its deadline runs from the beginning."""
        engine, desk = make_fake_engine(answer_cache={"public": True}), Desk()
        services = dataclasses.replace(engine._services, dispatcher=desk, heartbeat_s=0.01)
        queries = [Query(text="hello", client="c1", temperature=0)]
        queries.append(Query(text="hello", client="c2", temperature=0, deadline_s=0.3))
        streams = [Walk(services, query).events() for query in queries]
        for stream in streams:
            until(stream, ProgressEvent)
        desk.tickets[0].put(Ended(error=TooManyRequestsError(held=3, retry_after_s=3.0)))
        list(streams[0])

        last = list(streams[1])[-1]

        assert len(desk.tickets) == 2
        assert last.error.facts == {"phase": "waiting", "limit_s": 0.3}

    def test_one_who_does_not_read_spoils_it_for_nobody(self, make_fake_engine):
        """What has ended unheard is not joined, whose question it ever was."""
        engine, desk = make_fake_engine(answer_cache={"public": True}), Desk()
        services = dataclasses.replace(engine._services, dispatcher=desk, heartbeat_s=0.01)
        slow = Walk(services, Query(text="hello", **GREEDY)).events()
        until(slow, ProgressEvent)
        desk.tickets[0].put(Ended(error=SlowReaderError(buffer_bytes=1)))

        other = Walk(services, Query(text="hello", **GREEDY)).events()
        until(other, ProgressEvent)
        answer(desk.tickets[1])

        assert list(other)[-1].answer.text == "mine"
        assert list(slow)[-1].error.code == "slow_reader"

    def test_what_is_refused_for_all_is_told_to_all(self, make_fake_engine):
        """An error of the system or of the question is not asked for twice."""
        engine, desk = make_fake_engine(answer_cache={"public": True}), Desk()
        services = dataclasses.replace(engine._services, dispatcher=desk, heartbeat_s=0.01)
        streams = [Walk(services, Query(text="hello", **GREEDY)).events() for _ in range(3)]
        for stream in streams:
            until(stream, ProgressEvent)
        (ticket,) = desk.tickets
        ticket.put(Ended(error=GenerationError(reason="no")))

        assert [list(stream)[-1].error.code for stream in streams] == ["generation_failed"] * 3
        assert len(desk.tickets) == 1
        assert desk.cancelled == []

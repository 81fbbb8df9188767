"""What happens when agents fail: who takes over, what the breakers hear, who is refused."""

from __future__ import annotations

import pytest

from orion.breakers import BreakerState
from orion.dispatcher import Attempt, FellBack, Granted, Ticket
from orion.dispatcher.faults import Fault
from orion.protocol import Delta, Done, Failed, Generate, Heartbeat, Load, LoadFailed, Started, Stop
from orion.types import FaultKind
from orion.workers import Pulse
from tests.fakes.hall import Hall, done, error_of, heard, job, kinds

LAST = "conversation-agent"


def ask(hall: Hall, *agents: str, models: str = "", content: str = "", **more) -> Ticket:
    """A request that `agents` may answer in turn, on model "a" or on one letter each."""
    hall.asked += 1
    name = f"q{hall.asked}"
    attempts = tuple(
        Attempt(
            agent=agent,
            breaker=agent,
            model=model,
            generate=Generate(request_id=name, messages=[["user", "x"]], sampling={}),
            last_resort=agent == LAST,
        )
        for agent, model in zip(agents, models or "a" * len(agents), strict=True)
    )
    ticket = Ticket(request_id=name, attempts=attempts, content=(content or name,), **more)
    hall.dispatcher.submit(ticket)
    hall.settle()
    return ticket


def fail(hall: Hall, ticket: Ticket, code: str = "generation_failed", **facts) -> None:
    """The worker says that the attempt under way failed."""
    worker = hall.holder(ticket.model)
    worker.say(Failed(request_id=job(ticket), code=code, facts=facts or {"reason": "no"}))
    hall.settle()


def text(ticket: Ticket, seq: int = 0, words: str = "so") -> Delta:
    return Delta(request_id=job(ticket), seq=seq, text=words, num_tokens=1)


def state(hall: Hall, name: str) -> BreakerState:
    return hall.breakers.get(name, hall.rules).state


class TestFallback:
    def test_the_next_agent_takes_over_in_the_same_slot(self, hall):
        """Nobody who waits gets in between."""
        hall.load(slots=1)
        first, second = ask(hall, "code", LAST), ask(hall, "code", LAST)
        fail(hall, first)

        assert kinds(first) == ["Granted", "FellBack", "Granted"]
        assert heard(second) == []
        sent = hall.holder("a").received(Generate)
        assert [frame.request_id for frame in sent] == ["q2.0", "q2.1"]
        assert hall.dispatcher.tally.fallbacks == 1

    def test_the_caller_hears_who_and_why(self, hall):
        """The error of the one that failed, and the attempt that follows."""
        hall.load()
        ticket = ask(hall, "code", LAST)
        fail(hall, ticket, reason="out of ideas")

        said = next(message for message in heard(ticket) if isinstance(message, FellBack))
        assert said.attempt is ticket.attempts[1]
        assert said.error.reason == "out of ideas"

    def test_the_list_is_tried_in_order_and_each_once(self, hall):
        """When the last has failed, its error is the answer."""
        hall.load()
        ticket = ask(hall, "code", "creative", LAST)
        for _ in range(3):
            fail(hall, ticket)

        assert kinds(ticket) == [*["Granted", "FellBack"] * 2, "Granted", "Ended"]
        assert hall.dispatcher.counts()["running"] == 0

    def test_after_text_nobody_takes_over(self, hall):
        """Two voices in one answer would be worse than a part."""
        worker = hall.load()
        ticket = ask(hall, "code", LAST)
        worker.say(text(ticket))
        fail(hall, ticket)

        assert kinds(ticket) == ["Granted", "Delta", "Ended"]

    def test_an_empty_piece_is_no_text(self, hall):
        """Nothing was delivered."""
        worker = hall.load()
        ticket = ask(hall, "code", LAST)
        worker.say(text(ticket, words=""))
        fail(hall, ticket)

        assert kinds(ticket)[-1] == "Granted"

    def test_late_text_of_the_failed_attempt_is_not_heard(self, hall):
        """Only the one that answers speaks."""
        worker = hall.load()
        ticket = ask(hall, "code", LAST)
        late = text(ticket)
        fail(hall, ticket)
        heard(ticket)
        worker.say(late, text(ticket, words="fresh"))
        hall.settle()

        assert [message.text for message in heard(ticket)] == ["fresh"]

    @pytest.mark.parametrize(
        ("code", "facts"),
        [("context_too_long", {"prompt_tokens": 9, "context_tokens": 5}), ("cancelled", {})],
    )
    def test_what_is_not_the_agents_fault_is_told_as_it_is(self, hall, code, facts):
        """And no breaker hears of it."""
        hall.load()
        ticket = ask(hall, "code", LAST)
        fail(hall, ticket, code, **facts)

        assert error_of(ticket).code == code
        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["failures"], seen["in_flight"]) == (0, 0)

    def test_a_load_that_fails_is_taken_over_by_an_agent_on_another_model(self, make_hall):
        """It need not be loaded if it is there."""
        hall = make_hall(places=2)
        hall.load("b")
        ticket = ask(hall, "code", LAST, models="ab")
        facts = {"model": "a", "reason": "no room"}
        hall.holder("a").say(LoadFailed(model="a", code="load_failed", facts=facts))
        hall.settle()

        assert kinds(ticket) == ["FellBack", "Granted"]

    def test_a_model_that_is_not_here_is_not_asked_for_twice(self, hall):
        """The same file would be missing again."""
        ticket = ask(hall, "code", LAST, models=["missing", "missing"])

        assert error_of(ticket).code == "weights_missing"
        assert kinds(ask(hall, "code", LAST, models=["missing", "a"])) == ["FellBack"]

    def test_a_worker_that_dies_before_any_text_costs_nothing_but_time(self, hall):
        """Its requests go on with the next agent, on a new worker, before those who wait."""
        worker = hall.load(slots=1)
        first, second = ask(hall, "code", LAST), ask(hall, "code", LAST)
        worker.exit(-9)
        hall.settle()
        hall.holder("a").has_loaded(slots=1)
        hall.settle()

        assert kinds(first) == ["Granted", "FellBack", "Granted"]
        assert heard(second) == []

    def test_who_leaves_while_another_takes_over_is_gone(self, hall):
        """No slot stays taken."""
        hall.load(slots=1)
        ticket = ask(hall, "code", LAST)
        fail(hall, ticket)
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.holder("a").say(done(ticket))
        hall.settle()

        assert kinds(ticket)[-1] == "Ended"
        assert hall.dispatcher.counts()["running"] == 0
        assert hall.dispatcher._desk.tickets == {}


class TestBreakers:
    def test_three_failures_pause_an_agent_and_another_answers(self, hall):
        """The fourth request does not wait for a failure."""
        hall.load()
        for _ in range(3):
            ticket = ask(hall, "code", LAST)
            fail(hall, ticket)
            hall.holder("a").say(done(ticket))
            hall.settle()
        assert state(hall, "generate:code") is BreakerState.OPEN

        ticket = ask(hall, "code", LAST)

        said, granted = heard(ticket)
        assert (said.error.code, said.error.cause) == ("circuit_open", "generation_failed")
        assert isinstance(granted, Granted)

    def test_a_pause_ends_with_a_trial(self, hall):
        """One success and it is healthy again."""
        hall.load()
        for _ in range(3):
            fail(hall, ask(hall, "code"))
        hall.pass_time(31.0)
        trial, other = ask(hall, "code"), ask(hall, "code")
        assert kinds(trial) == ["Granted"]
        assert error_of(other).code == "circuit_open"

        hall.holder("a").say(done(trial))
        hall.settle()

        assert state(hall, "generate:code") is BreakerState.CLOSED

    def test_the_last_resort_is_never_refused_by_a_breaker(self, hall):
        """It may only fail honestly."""
        hall.load()
        for _ in range(4):
            fail(hall, ask(hall, LAST))
        assert state(hall, f"generate:{LAST}") is BreakerState.OPEN

        assert kinds(ask(hall, LAST)) == ["Granted"]

    def test_one_request_has_one_vote(self, hall):
        """The same words failing again and again pause nobody."""
        hall.load()
        for _ in range(5):
            fail(hall, ask(hall, "code", content="the same"))

        assert state(hall, "generate:code") is BreakerState.CLOSED

    def test_one_death_is_one_failure_of_an_agent(self, hall):
        """However many of its answers it took along."""
        worker = hall.load(slots=4)
        for _ in range(4):
            ask(hall, "code")
        worker.exit(-9)
        hall.settle()

        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["state"], seen["consecutive"]) == ("closed", 1)

    @pytest.mark.parametrize("leave", ["cancel", "drain"])
    def test_who_leaves_is_not_counted(self, hall, leave):
        """Neither success nor failure, and the permit is back."""
        hall.load()
        ticket = ask(hall, "code")
        if leave == "cancel":
            hall.dispatcher.cancel(ticket.request_id)
            hall.settle()
        else:
            hall.dispatcher.shutdown(0.0)

        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["admitted"], seen["ignored"], seen["in_flight"]) == (1, 1, 0)

    def test_loads_that_fail_pause_the_model_but_not_the_last_resort(self, make_hall):
        """Others are told when to come back."""
        hall = make_hall(places=2)
        for _ in range(3):
            ask(hall, "code")
            facts = {"model": "a", "reason": "no"}
            hall.holder("a").say(LoadFailed(model="a", code="load_failed", facts=facts))
            hall.settle()
        assert state(hall, "load:a") is BreakerState.OPEN
        works = len(hall.works)

        refused = ask(hall, "code")
        error = error_of(refused)
        assert error.code == "circuit_open"
        assert error.facts["retry_after_s"] == pytest.approx(30.0)
        assert len(hall.works) == works

        ask(hall, LAST)
        assert len(hall.works) == works + 1

    def test_answers_that_are_slow_pause_an_agent(self, hall):
        """From the grant to the first text; ten of them are enough to know."""
        worker = hall.load(slots=16)
        tickets = [ask(hall, "code") for _ in range(10)]
        hall.clock.advance(46.0)
        for ticket in tickets:
            worker.say(text(ticket), done(ticket))
        hall.settle()

        assert error_of(ask(hall, "code")).cause == "slow"


class TestPoison:
    def die(self, hall: Hall) -> None:
        """The worker dies, and its model is loaded again."""
        hall.holder("a").exit(-11)
        hall.settle()
        hall.pass_time(0.1)
        hall.holder("a").has_loaded(slots=4)
        hall.settle()

    def test_two_deaths_and_a_message_is_refused_for_an_hour(self, hall):
        """Also when the second was the fallback of the first."""
        hall.load(slots=4)
        ticket = ask(hall, "code", LAST, content="poison")
        self.die(hall)
        assert kinds(ticket) == ["Granted", "FellBack", "Granted"]
        self.die(hall)

        assert error_of(ticket).code == "quarantined"
        again = error_of(ask(hall, "creative", LAST, content="poison"))
        assert (again.code, again.status, again.facts["minutes"]) == ("quarantined", 422, 60)
        assert hall.dispatcher.quarantined == 1
        hall.clock.advance(3601.0)
        assert hall.dispatcher.quarantined == 0

    def test_those_who_were_near_are_not_refused(self, hall):
        """An answer clears them, and suspects never share a worker."""
        hall.load(slots=4)
        poison = ask(hall, "code", LAST, content="poison")
        innocent = ask(hall, "code", LAST, content="hello")
        self.die(hall)
        assert kinds(poison)[-1] == "Granted"
        assert kinds(innocent) == ["Granted", "FellBack"]
        self.die(hall)

        assert error_of(poison).code == "quarantined"
        assert kinds(innocent) == ["Granted"]
        hall.holder("a").say(done(innocent))
        hall.settle()
        assert kinds(ask(hall, "code", content="hello")) == ["Granted"]

    def test_a_worker_that_was_killed_for_not_stopping_accuses_nobody(self, hall):
        """Whoever stopped it did nothing wrong."""
        worker = hall.load()
        ticket = ask(hall, "code", content="long")
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.pass_time(0.6)
        assert worker.terminated.is_set()
        hall.settle()

        assert not hall.dispatcher._desk.quarantine._cases


class TestDeadline:
    def test_the_request_has_one_deadline_over_everything(self, hall):
        """Waiting for a load counts."""
        ticket = ask(hall, "code", limit_s=5.0)
        hall.pass_time(5.1)

        error = error_of(ticket)
        assert (error.code, error.phase, error.limit_s) == ("deadline", "loading", 5.0)
        assert hall.dispatcher.counts()["waiting"] == 0
        hall.holder("a").has_loaded()
        hall.settle()

    def test_and_waiting_for_a_slot(self, hall):
        """Those who run are not disturbed."""
        hall.load(slots=1)
        runs, waits = ask(hall, "code"), ask(hall, "code", limit_s=5.0)
        hall.pass_time(5.1)

        assert error_of(waits).phase == "waiting"
        assert kinds(runs) == ["Granted"]

    def test_an_attempt_without_text_is_taken_over_when_its_time_is_up(self, hall):
        """The request has more time than the attempt."""
        worker = hall.load(slots=2)
        ticket = ask(hall, "code", LAST, limit_s=300.0)
        hall.pass_time(90.1)

        assert worker.received(Stop) == [Stop(request_id="q2.0")]
        assert kinds(ticket) == ["Granted", "FellBack", "Granted"]
        seen = hall.breakers.get("generate:code", hall.rules).snapshot()
        assert (seen["consecutive"], seen["in_flight"]) == (1, 0)

    def test_the_worker_knows_the_deadline_and_may_be_first(self, hall):
        """What it ends by itself is the deadline, not an answer."""
        hall.load()
        ticket = ask(hall, "code")
        frame = hall.holder("a").received(Generate)[0]
        assert frame.deadline_s == hall.clock.now() + 90.0
        hall.clock.advance(89.99)
        ended = Done(**{**{f: getattr(done(ticket), f) for f in done(ticket).__slots__},
                        "finish_reason": "cancelled"})  # fmt: skip
        hall.holder("a").say(ended)
        hall.settle()

        assert error_of(ticket).code == "deadline"
        assert hall.dispatcher.counts()["running"] == 0

    def test_a_worker_of_its_own_that_ignores_a_stop_is_ended_soon(self, hall):
        """Half a second, where nobody else uses it; then its model comes back."""
        worker = hall.load()
        ticket = ask(hall, "code")
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.pass_time(0.4)
        assert not worker.terminated.is_set()
        hall.pass_time(0.2)
        assert worker.terminated.is_set()

        hall.settle()
        hall.pass_time(0.1)
        assert hall.holder("a").received(Load)


class TestSupervision:
    def beat(self, hall: Hall, pid: int | None = 7) -> None:
        worker = hall.holder("a")
        worker.pid = pid
        worker.say(Heartbeat(rss_bytes=1000, num_tokens=0, active=0))
        hall.settle()

    def test_a_stopped_process_is_ended_after_two_silent_seconds(self, hall):
        """SIGTERM does not reach it: SIGKILL follows."""
        hall.works.polite = False
        hall.load()
        worker = hall.holder("a")
        self.beat(hall)
        ticket = ask(hall, "code")
        hall.pulses[7] = Pulse(stopped=True, cpu_s=1.0)
        hall.pass_time(1.9)
        assert not worker.terminated.is_set()
        hall.pass_time(0.2)
        assert worker.terminated.is_set()
        hall.pass_time(0.4)
        assert worker.killed.is_set()
        worker.exit(-9)
        hall.settle()

        error = error_of(ticket)
        assert (error.code, error.model) == ("worker_hung", "a")

    def test_a_silent_process_that_works_has_five_times_as_long(self, hall):
        """A starved machine is no hang."""
        hall.load()
        worker = hall.holder("a")
        self.beat(hall)
        for second in range(1, 10):
            hall.pulses[7] = Pulse(stopped=False, cpu_s=second * 0.9)
            hall.pass_time(1.0)
        assert not worker.terminated.is_set()
        hall.pulses[7] = Pulse(stopped=False, cpu_s=20.0)
        hall.pass_time(1.1)

        assert worker.terminated.is_set()

    def test_a_silent_process_that_does_nothing_is_ended(self, hall):
        """Its heartbeat thread should speak."""
        hall.load()
        worker = hall.holder("a")
        self.beat(hall)
        hall.pulses[7] = Pulse(stopped=False, cpu_s=1.0)
        for _ in range(5):
            hall.pass_time(0.5)

        assert worker.terminated.is_set()

    def test_an_answer_that_stands_still_while_nothing_is_computed_is_a_hang(self, hall):
        """Heartbeats go on; ten seconds without a token and without work end the worker."""
        hall.works.polite = False
        hall.load()
        worker = hall.holder("a")
        ticket = ask(hall, "code", LAST)
        hall.pulses[7] = Pulse(stopped=False, cpu_s=0.0)
        for _ in range(11):
            self.beat(hall)
            hall.pass_time(1.0)
        assert worker.terminated.is_set()
        worker.exit(-15)
        hall.settle()

        assert kinds(ticket) == ["Granted", "FellBack"]

    def test_a_long_prefill_is_no_hang(self, hall):
        """It computes."""
        hall.load()
        worker = hall.holder("a")
        ticket = ask(hall, "code")
        for second in range(60):
            hall.pulses[7] = Pulse(stopped=False, cpu_s=second * 1.9)
            self.beat(hall)
            hall.pass_time(1.0)

        assert not worker.terminated.is_set()
        assert kinds(ticket) == ["Granted"]

    def test_a_worker_that_grows_is_renewed_when_it_is_idle(self, make_hall):
        """Nobody is cut off for it."""
        hall = make_hall(growth_bytes=1_000_000)
        worker = hall.load()
        ticket = ask(hall, "code")
        worker.say(Heartbeat(rss_bytes=1_500_000, num_tokens=0, active=1))
        hall.settle()
        hall.pass_time(0.1)
        assert not worker.terminated.is_set()
        worker.say(done(ticket))
        hall.settle()
        hall.pass_time(0.1)

        assert worker.gone
        assert hall.holder("a").received(Load)
        assert kinds(ticket) == ["Granted", "Done"]

    def test_a_worker_that_grows_to_twice_the_limit_is_ended(self, make_hall):
        """The machine has others to serve."""
        hall = make_hall(growth_bytes=1_000_000)
        worker = hall.load()
        ticket = ask(hall, "code")
        worker.say(Heartbeat(rss_bytes=2_500_000, num_tokens=0, active=1))
        hall.settle()
        hall.pass_time(0.1)
        hall.settle()

        assert worker.terminated.is_set()
        assert error_of(ticket).code == "out_of_memory"

    def test_a_lost_model_comes_back_by_itself_with_growing_pauses(self, hall):
        """At once, then after half a second, one, two."""
        hall.load().exit(-9)
        hall.settle()
        begun = []
        for _ in range(40):
            hall.pass_time(0.1)
            if len(hall.works) > len(begun) + 1:
                begun.append(hall.clock.now())
                facts = {"model": "a", "reason": "no"}
                hall.works.workers[-1].say(LoadFailed(model="a", code="load_failed", facts=facts))
                hall.settle()

        gaps = [later - earlier for earlier, later in zip(begun, begun[1:], strict=False)]
        assert [round(gap, 1) for gap in gaps[:2]] == [0.5, 1.0]
        assert hall.dispatcher.missing == {"a"}

    def test_what_was_asked_to_leave_does_not_come_back(self, hall):
        """An unload is an unload."""
        hall.load()
        assert hall.dispatcher.unload("a", 5.0)
        hall.pass_time(1.0)

        assert hall.states() == []
        assert hall.dispatcher.missing == frozenset()

    def test_what_cannot_be_killed_is_given_up(self, hall):
        """A thread of this process goes on by itself; nobody waits for it."""
        hall.works.polite = False
        hall.load()
        ticket = ask(hall, "code")
        hall.dispatcher.cancel(ticket.request_id)
        hall.settle()
        hall.pass_time(0.6)
        hall.pass_time(0.4)
        hall.pass_time(5.0)

        assert "worker.unkillable" in hall.log.lines
        assert all(worker.gone or worker.killed.is_set() for worker in hall.works.workers[:1])
        assert hall.dispatcher.counts()["running"] == 0


class TestMistrust:
    def test_a_piece_out_of_order_ends_the_worker(self, hall):
        """Nothing is shown twice, nothing is left out."""
        worker = hall.load()
        ticket = ask(hall, "code")
        worker.say(text(ticket), text(ticket))
        hall.settle()

        assert worker.killed.is_set()
        assert kinds(ticket) == ["Granted", "Delta", "Ended"]

    def test_more_tokens_than_were_asked_for_end_the_worker(self, hall):
        """A flood is no answer."""
        worker = hall.load()
        generate = Generate(request_id="x", messages=[], sampling={"max_tokens": 10})
        attempt = Attempt(agent="code", breaker="code", model="a", generate=generate)
        ticket = Ticket(request_id="x", attempts=(attempt,))
        hall.dispatcher.submit(ticket)
        hall.settle()
        for seq in range(200):
            worker.say(text(ticket, seq))
        hall.settle()

        assert worker.killed.is_set()
        assert len(heard(ticket)) < 80

    def test_text_for_nobody_ends_the_worker_when_it_does_not_stop(self, hall):
        """A little of it is what a cancelled answer leaves behind."""
        worker = hall.load()
        for seq in range(1000):
            worker.say(Delta(request_id="nobody", seq=seq, text="x", num_tokens=1))
        assert not worker.killed.is_set()
        worker.say(Started(request_id="nobody", prompt_tokens=1))

        assert worker.killed.is_set()

    def test_a_caller_that_does_not_read_is_ended(self, make_hall):
        """What waits for it has a limit, in size and in time; the agent is not to blame."""
        hall = make_hall(buffer_bytes=10)
        worker = hall.load()
        slow, quick = ask(hall, "code"), ask(hall, "code")
        for seq in range(5):
            worker.say(text(slow, seq, "12345"))
            worker.say(text(quick, seq, "12345"))
            heard(quick)
        hall.settle()
        hall.pass_time(0.1)
        hall.pass_time(31.0)

        assert error_of(slow).code == "slow_reader"
        assert quick.job is not None
        assert not quick.ended
        assert hall.breakers.get("generate:code", hall.rules).snapshot()["failures"] == 0


class TestInjection:
    def test_a_fault_travels_with_the_next_request_of_its_agent(self, hall):
        """Once, and nobody else's."""
        hall.load(slots=4)
        fault = Fault(target="code", where="generate", kind=FaultKind.HANG, times=1)
        hall.dispatcher.faults.add(fault)
        ask(hall, "creative")
        ask(hall, "code")
        ask(hall, "code")

        assert [frame.fault for frame in hall.holder("a").received(Generate)] == ["", "hang", ""]
        assert hall.dispatcher.faults.pending() == []

    def test_a_fault_travels_with_the_next_load(self, hall):
        """As often as asked."""
        hall.dispatcher.faults.add(Fault(target="a", where="load", kind=FaultKind.FAIL, times=2))
        ask(hall, "code")

        assert hall.holder("a").received(Load)[0].fault == "fail"
        assert hall.dispatcher.faults.pending()[0]["times"] == 1
        assert hall.dispatcher.faults.clear() == 1

    def test_injected_failures_are_not_the_prompts_fault(self, hall):
        """The same words may vote three times."""
        hall.load()
        hall.dispatcher.faults.add(
            Fault(target="code", where="generate", kind=FaultKind.FAIL, times=3)
        )
        for _ in range(3):
            fail(hall, ask(hall, "code", content="the same"))

        assert state(hall, "generate:code") is BreakerState.OPEN

"""Workers that are silent, stuck, growing, lost or lying; callers that do not read."""

from __future__ import annotations

import itertools

from orion.dispatcher import Attempt, Ticket
from orion.protocol import Delta, Generate, Heartbeat, Load, LoadFailed, Started
from orion.workers import Pulse
from tests.fakes.asking import LAST, ask, text
from tests.fakes.hall import Hall, done, error_of, heard, kinds


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
        assert not worker.terminated.is_set()
        hall.pass_time(0.3)
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
        hall.pass_time(0.3)

        assert worker.terminated.is_set()

    def test_nobody_is_accused_when_it_was_this_process_that_stood_still(self, hall):
        """What was said meanwhile is heard before anyone is ended."""
        hall.load()
        worker = hall.holder("a")
        self.beat(hall)
        hall.pulses[7] = Pulse(stopped=False, cpu_s=1.0)
        hall.pass_time(30.0)
        self.beat(hall)
        hall.pass_time(0.3)

        assert not worker.terminated.is_set()

    def test_a_silent_process_that_does_nothing_is_ended(self, hall):
        """Its heartbeat thread should speak."""
        hall.load()
        worker = hall.holder("a")
        self.beat(hall)
        hall.pulses[7] = Pulse(stopped=False, cpu_s=1.0)
        for _ in range(6):
            hall.pass_time(0.5)

        assert worker.terminated.is_set()

    def test_an_answer_that_stands_still_while_nothing_is_computed_is_a_hang(self, hall):
        """Heartbeats go on; ten seconds without a token and without work end the worker."""
        hall.works.polite = False
        hall.load()
        worker = hall.holder("a")
        ticket = ask(hall, "code", LAST)
        hall.pulses[7] = Pulse(stopped=False, cpu_s=0.0)
        for _ in range(12):
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

        gaps = [later - earlier for earlier, later in itertools.pairwise(begun)]
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
        for seconds in (0.6, 0.3, 0.4, 5.1):
            hall.pass_time(seconds)

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

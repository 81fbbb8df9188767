"""The arithmetic of the benchmarks with crowds, and the pieces that talk to no app."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks import burst, scheduler, streams, switch, turns
from benchmarks.burst import Burst, percentile
from benchmarks.burst_client import Attempt, body_of, head_of, request_of
from benchmarks.process import BenchmarkError
from benchmarks.stream_client import Streamed

ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\n{}"


def crowd(*attempts: list[Attempt]) -> Burst:
    return Burst(attempts=list(attempts), most_admitted=0, grown_bytes=0)


def answered() -> Attempt:
    return Attempt(status=200)


def refused(status: int = 503, retry_after: str = "3") -> Attempt:
    return Attempt(status=status, retry_after=retry_after, sent_s=1.0, first_s=1.5)


class TestPercentile:
    @pytest.mark.parametrize(("ratio", "value"), [(0.5, 5), (0.99, 10), (0.1, 1), (1.0, 10)])
    def test_it_is_the_sample_that_so_many_do_not_exceed(self, ratio, value):
        """Nearest rank: always one of the samples."""
        assert percentile(list(range(10, 0, -1)), ratio) == value

    def test_there_is_none_of_nothing(self):
        """And what is not a number meets no goal."""
        assert math.isnan(percentile([], 0.99))


class TestBurst:
    def test_everybody_is_let_in_refused_or_lost(self):
        """A cut connection and a failure of the server are lost; a refusal is not."""
        made = crowd(
            [answered()],
            [refused(), answered()],
            [refused(429), refused()],
            [Attempt(broke="reset")],
            [Attempt(status=500)],
        )

        assert len(made.refused) == 2
        assert made.lost == 2
        assert made.let_in_ratio == 0.5

    def test_a_refusal_without_a_time_is_counted_at_either_attempt(self):
        """Whoever is refused again is told again."""
        made = crowd([refused(retry_after="")], [refused(), refused(retry_after="")])

        assert made.without_time == 2

    def test_a_burst_that_refuses_nobody_measures_nothing(self):
        """It says so, and gives no figure."""
        names = ("sessions", "one address", "connecting")

        with pytest.raises(BenchmarkError, match="nobody was refused"):
            burst._figures({name: [crowd([answered()])] for name in names})

    def test_sessions_are_few_and_addresses_have_none(self):
        """Forty clients' names, or no name at all."""
        named = {burst._body(number, 40)["session"] for number in range(1000)}

        assert len(named) == 40
        assert "session" not in burst._body(7, 0)


class TestAnswersOfTheCrowd:
    def test_an_answer_is_whole_with_its_length(self):
        """However it was cut on the way."""
        assert head_of(ANSWER[:30]) is None
        assert body_of(ANSWER[:-1]) is None
        assert body_of(ANSWER) == b"{}"
        status, headers = head_of(ANSWER) or (0, {})
        assert (status, headers["retry-after"]) == (503, "7")

    def test_a_request_says_how_long_it_is(self):
        """One write, with the body."""
        sent = request_of({"model": "auto"})

        head, _, body = sent.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert json.loads(body) == {"model": "auto"}


class TestStreams:
    def test_the_rate_is_of_all_from_the_first_request_to_the_last_text(self):
        """Whoever waits counts as waiting."""
        ours = [
            Streamed(sent_s=sent_s, last_s=last_s, usage={"completion_tokens": 50})
            for sent_s, last_s in ((1.0, 3.0), (1.5, 6.0))
        ]
        raw = {"answers": [{"tokens": 60}, {"tokens": 60}], "seconds": 4.0}
        one = streams.Round(ours=ours, raw=raw, livez_s=[0.001], bystander_cores=0.0)

        assert (one.our_rate, one.raw_rate) == (20.0, 30.0)

    @pytest.mark.parametrize("make", [streams.question, switch.question, turns.long_text])
    def test_questions_differ_and_are_of_one_length(self, make):
        """So that nothing is known beforehand and every round is the same work."""
        texts = {make(number) for number in (0, 7, 42, 9999)}

        assert len(texts) == 4
        assert len({len(text) for text in texts}) == 1


class TestSchedulerHall:
    def test_as_many_wait_as_should_all_the_time(self):
        """What is measured is a decision among so many, and nobody is refused."""
        hall = scheduler.Hall(waiting=50, seed=1)
        before = hall.decisions

        seconds = hall.run(500)

        assert hall.decisions >= before + 500
        assert hall.scheduler.num_waiting == 50
        assert hall.refused == []
        assert seconds > 0

    def test_models_come_and_go(self):
        """Fifty models over ten places: places are what the decisions are about."""
        hall = scheduler.Hall(waiting=200, seed=2)

        hall.run(2000)

        assert len(hall.scheduler.resident) == scheduler.PLACES
        assert 0 < hall.scheduler.running <= scheduler.PLACES * scheduler.SLOTS

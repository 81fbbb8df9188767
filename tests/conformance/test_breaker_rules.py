"""What the numbered cases leave open: rules that misbehave, finalizers, streams."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from orion.breakers import Breaker, BreakerConfig, BreakerState, ErrorNote
from orion.clock import ManualClock
from orion.errors import BreakerConfigError, BreakerMisuseError
from tests.conformance.breaker_support import BOOM, by_rate, config

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
JITTERY = config(failures=1, jitter=0.1, break_s=30.0)


class TestRules:
    def test_a_rule_that_raises_is_logged_once_and_the_error_counts(self, bench):
        """The outcome is not lost, and the caller sees its own error."""

        def fall(subject: object) -> bool:
            raise LookupError(subject)

        one = bench(failures=2, ignore=(fall,), bad_result=fall)

        with pytest.raises(type(BOOM)), one.breaker.acquire():
            raise BOOM
        one.breaker.acquire().failure(BOOM)
        assert one.state is OPEN
        one.breaker.reset()
        one.breaker.acquire().success(result="text")

        assert (one.state, one.see("successes")) == (CLOSED, 1)
        assert one.log.lines == [
            ("warning", "breaker.rule", {
                "breaker": "generate:code-agent", "problem": "raised LookupError",
            })
        ]  # fmt: skip

    def test_a_rule_that_raises_needs_no_log(self):
        """Without one it is passed over in silence."""
        breaker = Breaker("a", config(record=(lambda error: 1 / 0 > 0,), failures=1))

        breaker.acquire().failure(BOOM)

        assert breaker.state is OPEN

    def test_an_error_of_ours_is_kept_by_code_and_public_message(self):
        """A foreign one by the name of its class; its words may hold anything."""
        assert ErrorNote.of(BOOM) == ("out_of_memory", BOOM.public_message)
        assert ErrorNote.of(OSError("/some/path")) == (
            "OSError", "Something went wrong inside ORION.",
        )  # fmt: skip

    def test_a_bad_result_is_kept_by_code_and_message(self, bench):
        """As if it had been an error."""
        one = bench(bad_result=lambda result: result == "")

        one.breaker.acquire().success(result="", ttft_s=1e9)

        assert one.see("last_error") == {
            "code": "bad_result", "message": "The result was refused by a rule.",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ({"failures": 0}, "`failures` must be 1 or more, not 0"),
            ({"trials": 0.5}, "`trials` must be 1 or more, not 0.5"),
            ({"slow_rate": 2}, "`slow_rate` must be above 0, up to 1, not 2"),
            ({"slow_gap_s": 0}, "`slow_gap_s` must be above 0 seconds, not 0"),
            ({"trial_s": math.inf}, "`trial_s` must be above 0 seconds, and finite, not inf"),
            ({"break_s": -1}, "`break_s` must be 0 seconds or more, not -1"),
            ({"break_max_s": 1}, "`break_max_s` must be `break_s` or more, not 1"),
            ({"growth": 0}, "`growth` must be 1 or more, and finite, not 0"),
            ({"jitter": 1}, "`jitter` must be 0 or more, below 1, not 1"),
            ({"jiter": 1}, "`jiter` is unknown"),
        ],
    )
    def test_what_is_wrong_with_a_rule_is_told_in_words(self, rules, message):
        """The name, what it must be, and what it was."""
        with pytest.raises(BreakerConfigError) as refused:
            BreakerConfig(**rules)

        assert str(refused.value) == f"The breaker's {message}."

    def test_slowness_is_judged_where_known(self):
        """A time that was not measured is not slow, at the limit is not slow, above is."""
        rules = config(slow_ttft_s=0.5, slow_gap_s=0.25)

        judged = [
            rules.is_slow(*times_s)
            for times_s in ((None, None), (0.5, 0.25), (0.51, None), (None, 0.26), (0.1, 0.1))
        ]
        assert judged == [False, False, True, True, False]

    def test_breaks_grow_up_to_the_longest(self):
        """By the growth, each time, without end or overflow."""
        rules = config(break_s=3.0, growth=3, break_max_s=math.inf)

        assert [rules.break_after(number) for number in range(4)] == [3.0, 9.0, 27.0, 81.0]
        assert rules.break_after(10**4) == math.inf
        assert config(break_s=0.0, growth=3).break_after(10**4) == 0.0
        assert config(break_s=3.0, growth=3, break_max_s=50.0).break_after(10**4) == 50.0

    def test_a_break_can_vary_around_its_length(self):
        """Jitter shortens and lengthens alike; the draw is the given chance's."""
        lengths = []
        for seed in range(40):
            breaker = Breaker("a", JITTERY, clock=ManualClock(), random=Random(seed))
            breaker.acquire().failure(BOOM)
            lengths.append(breaker.retry_after_s)
            assert lengths[-1] == pytest.approx(30.0 * Random(seed).uniform(0.9, 1.1))

        assert min(lengths) < 30.0 < max(lengths)


class TestFromInside:
    def test_a_finalizer_may_report_while_its_thread_holds_the_breaker(self, bench):
        """The outcome waits until the breaker is asked next."""
        one = bench()
        permit = one.breaker.acquire()

        with one.breaker._section():
            permit.failure(BOOM)
            assert one.breaker._machine.tally.failures == 0

        assert one.see("failures_total") == 1

    def test_whoever_asks_from_inside_is_refused_by_name(self, bench):
        """Rather than waiting for itself."""
        one = bench()

        with one.breaker._section(), pytest.raises(BreakerMisuseError) as refused:
            one.breaker.acquire()

        assert (
            str(refused.value) == "The breaker generate:code-agent was called from inside itself."
        )
        assert one.state is CLOSED

    def test_an_outcome_is_dated_when_it_was_reported(self, bench):
        """Not when the breaker got round to it."""
        one = bench(**by_rate(minimum_calls=1, window_s=60.0), break_s=30.0)
        permit = one.breaker.acquire()
        with one.breaker._section():
            permit.failure(BOOM)

        one.clock.advance(10.0)

        assert one.breaker.retry_after_s == 20.0
        assert one.heard()[0].at_s == 1000.0

    def test_a_permit_lost_in_time_does_not_expire(self, bench):
        """It was given back before its trial's time was up, whoever noticed when."""
        one = bench(trial_s=90.0)
        one.trip()
        one.end_break()
        permit = one.breaker.acquire()
        one.clock.advance(89.0)
        del permit

        one.clock.advance(1000.0)

        assert (one.state, one.see("ignored"), one.see("failures_total")) == (HALF_OPEN, 1, 3)


class TestGuards:
    def test_the_waits_of_an_async_stream_are_timed(self, bench):
        """Like those of any other."""
        one = bench(minimum_calls=1, slow_rate=1.0, slow_ttft_s=5.0, slow_gap_s=0.5)

        async def source(*waits_s: float) -> AsyncIterator[float]:
            for wait_s in waits_s:
                one.clock.advance(wait_s)
                yield wait_s

        async def read(*waits_s: float) -> None:
            async for _ in one.breaker.acquire().guard_async(source(*waits_s)):
                one.clock.advance(1000.0)

        asyncio.run(read())
        asyncio.run(read(5.0, 0.5))
        assert one.state is CLOSED
        asyncio.run(read(5.1))
        assert one.state is OPEN
        one.breaker.reset()
        asyncio.run(read(1.0, 0.6, 0.1))
        assert one.state is OPEN

    def test_a_source_is_closed_behind_its_reader(self, bench):
        """Also where somebody else holds it."""
        one, closed = bench(), []

        def source() -> Iterator[int]:
            try:
                yield 1
            finally:
                closed.append("sync")

        async def asource() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                closed.append("async")

        async def leave() -> None:
            held = asource()
            guarded = one.breaker.acquire().guard_async(held)
            await anext(guarded)
            await guarded.aclose()
            closed.append("left")

        held = source()
        guarded = one.breaker.acquire().guard(held)
        next(guarded)
        guarded.close()
        assert closed == ["sync"]
        asyncio.run(leave())
        assert closed == ["sync", "async", "left"]

    def test_any_iterable_will_do(self, bench):
        """One that cannot be closed is only read."""
        one = bench(slow_gap_s=0.5, minimum_calls=1, slow_rate=1.0)

        assert list(one.breaker.acquire().guard([1, 2])) == [1, 2]
        assert list(one.breaker.acquire().guard([])) == []

        assert (one.see("successes"), one.see("slow_rate")) == (2, 0.0)

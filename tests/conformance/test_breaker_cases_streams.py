"""Cases 47 and 48: streams, and other processes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator

import pytest

from orion.breakers import BreakerState
from orion.errors import BreakerMisuseError, CircuitOpenError, WorkerDiedError
from tests.conformance.breaker_support import BOOM, config, make_breakers

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
ENDS = ("successes", "failures_total", "ignored")


def words(error: BaseException | None = None) -> Iterator[str]:
    """Two words, then the end or an error."""
    yield from ("one", "two")
    if error is not None:
        raise error


async def awords(error: BaseException | None = None) -> AsyncIterator[str]:
    """The same for `async for`."""
    for word in words(error):
        await asyncio.sleep(0)
        yield word


def by_for(permit, error, stop_after) -> None:
    for number, _ in enumerate(guarded := permit.guard(words(error)), 1):
        if number == stop_after:
            break
    guarded.close()


def by_yield_from(permit, error, stop_after) -> None:
    def outer() -> Generator[str]:
        yield from permit.guard(words(error))

    stream = outer()
    for number, _ in enumerate(stream, 1):
        if number == stop_after:
            break
    stream.close()


def by_async_for(permit, error, stop_after) -> None:
    async def read() -> None:
        stream = permit.guard_async(awords(error))
        number = 0
        async for _ in stream:
            number += 1
            if number == stop_after:
                break
        await stream.aclose()

    asyncio.run(read())


def by_context(permit, error, stop_after) -> None:
    def work() -> Generator[str]:
        with permit:
            yield from words(error)

    stream = work()
    for number, _ in enumerate(stream, 1):
        if number == stop_after:
            break
    stream.close()


WAYS = pytest.mark.parametrize("way", [by_for, by_yield_from, by_async_for, by_context])
Way = Callable[..., None]


class TestStreams:
    @WAYS
    def test_case_47_an_exhausted_stream_is_a_success(self, bench, way: Way):
        """Whatever the reader reads with."""
        one = bench()

        way(one.breaker.acquire(), None, None)

        assert [one.see(key) for key in ENDS] == [1, 0, 0]

    @WAYS
    def test_case_47_an_error_of_the_stream_is_a_failure(self, bench, way: Way):
        """And reaches the reader as it was."""
        one = bench()

        with pytest.raises(type(BOOM)) as raised:
            way(one.breaker.acquire(), BOOM, None)

        assert raised.value is BOOM
        assert [one.see(key) for key in ENDS] == [0, 1, 0]

    @WAYS
    def test_case_47_a_stream_closed_early_is_ignored(self, bench, way: Way):
        """The reader left: nobody's fault."""
        one = bench()

        way(one.breaker.acquire(), BOOM, 1)

        assert [one.see(key) for key in ENDS] == [0, 0, 1]

    @pytest.mark.parametrize("make", ["guard", "guard_async"])
    def test_case_47_a_stream_never_started_gives_its_permit_back(self, bench, make):
        """Once it is collected."""
        one = bench()
        stream = getattr(one.breaker.acquire(), make)(words() if make == "guard" else awords())
        assert one.see("in_flight") == 1

        del stream
        gc.collect()

        assert [one.see(key) for key in (*ENDS, "in_flight")] == [0, 0, 1, 0]

    def test_case_47_a_trial_stream_never_started_expires(self, bench):
        """Also while somebody keeps it."""
        one = bench(trial_s=90.0)
        one.trip()
        one.end_break()
        stream = one.breaker.acquire().guard(words())

        one.clock.advance(90.0)

        assert one.state is OPEN
        assert list(stream) == ["one", "two"]
        assert one.state is OPEN

    def test_case_47_a_cancelled_task_is_ignored(self, bench):
        """`asyncio` ends it with its own error, which counts for nothing."""
        one = bench()

        async def never() -> AsyncIterator[str]:
            yield "one"
            await asyncio.Event().wait()

        async def leave() -> None:
            async def read() -> None:
                async for _ in one.breaker.acquire().guard_async(never()):
                    reading.set()

            reading = asyncio.Event()
            task = asyncio.create_task(read())
            await reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(leave())

        assert [one.see(key) for key in ENDS] == [0, 0, 1]

    def test_case_47_what_the_reader_throws_in_is_ignored(self, bench):
        """It is the reader's error, not the agent's; the source is closed behind it."""
        one, closed = bench(), []

        def source() -> Iterator[int]:
            try:
                yield 1
            finally:
                closed.append("closed")

        stream = one.breaker.acquire().guard(source())
        next(stream)
        with pytest.raises(ValueError, match="reader"):
            stream.throw(ValueError("reader"))

        assert ([one.see(key) for key in ENDS], closed) == ([0, 0, 1], ["closed"])

    @pytest.mark.parametrize(
        ("waits_s", "slow"),
        [
            ((45.0, 10.0, 10.0), 0),
            ((45.1, 1.0, 1.0), 1),
            ((1.0, 10.1, 1.0), 1),
            ((1.0, 1.0, 9.0), 0),
        ],
    )
    def test_case_47_the_waits_are_timed(self, bench, waits_s, slow):
        """The first against the limit of the first text, the others against that of gaps."""
        one = bench(minimum_calls=1, slow_rate=1.0, slow_ttft_s=45.0, slow_gap_s=10.0)

        def source() -> Iterator[float]:
            for wait_s in waits_s:
                one.clock.advance(wait_s)
                yield wait_s

        for _ in one.breaker.acquire().guard(source()):
            one.clock.advance(1000.0)  # the reader's own time is not the agent's

        assert one.state is (OPEN if slow else CLOSED)

    def test_case_47_the_return_value_is_passed_on(self, bench):
        """`yield from` gives what the source returned."""
        one, got = bench(), []

        def source():
            yield 1
            return "usage"

        def outer():
            got.append((yield from one.breaker.acquire().guard(source())))

        assert list(outer()) == [1]
        assert got == ["usage"]


@pytest.mark.process
class TestProcesses:
    def test_case_48_a_worker_killed_in_its_trial_fails_it_once(self):
        """One failure, one re-opening, and the last resort answers in its place."""
        breakers = make_breakers()
        breaker = breakers.get("generate:code-agent", config(failures=1, break_s=0.0))
        last = breakers.get("generate:conversation-agent", config())
        breaker.acquire().failure(BOOM)
        trial = breaker.acquire()
        worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

        worker.kill()
        died = WorkerDiedError(model="m", exit_code=worker.wait())
        assert worker.stdin
        worker.stdin.close()
        for _ in range(2):  # the pipe breaks and the process ends: two who report the same death
            trial.failure(died)
        with last.admit() as permit:
            answer = "the fallback's"

        seen = breaker.snapshot()
        assert (died.exit_code, answer, permit.is_trial) == (
            -signal.SIGKILL,
            "the fallback's",
            False,
        )
        assert (seen["failures_total"], seen["opened"], seen["state"]) == (2, 2, "open")
        assert seen["last_error"]["code"] == "worker_died"

    def test_case_48_a_forked_child_changes_nothing(self, bench):
        """Not the parent's state, which it only has a copy of, and not that copy; nor does it
        wait for a lock that a thread of the parent held."""
        one = bench(failures=1)
        permit = one.breaker.acquire()
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with one.breaker._lock:
                held.set()
                go_on.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
            child = os.fork()
        if child == 0:
            os._exit(in_child(one, permit))
        _, status = os.waitpid(child, 0)
        go_on.set()
        holder.join()

        assert os.waitstatus_to_exitcode(status) == 0
        assert (one.state, one.see("in_flight")) == (CLOSED, 1)
        permit.success()
        assert one.see("successes") == 1


def in_child(one, permit) -> int:
    """What a forked child tries; the number of tries that were not refused."""
    signal.alarm(20)
    tries = (one.breaker.acquire, one.breaker.reset, one.breaker.force_open, one.breaker.snapshot)
    allowed = 0
    for attempt in tries:
        try:
            attempt()
            allowed += 1
        except BreakerMisuseError as error:
            expected = "The breaker generate:code-agent belongs to the parent process."
            allowed += str(error) != expected
        except CircuitOpenError:
            allowed += 1
    permit.failure(BOOM)
    return allowed + len(one.breaker._inbox)

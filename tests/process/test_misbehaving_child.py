"""The scripted ways of a child to go wrong, as they look from the other end of the pipe."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orion.protocol import (
    Delta,
    Done,
    Failed,
    Generate,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    Prefilling,
    Stop,
)
from tests.conftest import FAKE_RUNTIME
from tests.fakes.child import Child

pytestmark = pytest.mark.process

LOAD = Load(model="m", variant={}, home="/tmp", slots=4, context_tokens=1000, threads=1)


def ask(text: str, request_id: str = "r1", **given: Any) -> Generate:
    return Generate(
        request_id=request_id,
        messages=[["user", text]],
        sampling={"max_tokens": 1000},
        interval_s=0.0,
        **given,
    )


@pytest.fixture
def make_child() -> Iterator[Callable[[], Child]]:
    made: list[Child] = []

    def make() -> Child:
        made.append(Child(FAKE_RUNTIME))
        return made[-1]

    yield make
    for child in made:
        child.end()


@pytest.fixture
def child(make_child: Callable[[], Child]) -> Child:
    """The fake runtime in a process, loaded."""
    made = make_child()
    made.say(LOAD)
    made.until(Loaded)
    return made


def texts(heard: list[Any]) -> list[str]:
    return [frame.text for frame in heard if isinstance(frame, Delta)]


def listen_for_ever(child: Child) -> None:
    """Until nothing comes for two seconds."""
    while child.until(Heartbeat, limit_s=2.0):
        pass


class TestWords:
    def test_garbage_ends_the_trust_at_once(self, child: Child) -> None:
        """What came before it was heard."""
        child.say(ask("tokens=5 garbage=2"))
        heard = [frame for _ in range(2) for frame in child.until(Delta)]

        assert texts(heard) == ["t0 ", "t1 "]
        assert child.wait() == -signal.SIGKILL

    def test_after_half_a_frame_nothing_is_heard(self, child: Child) -> None:
        """Not even a heartbeat: they are taken for the rest of it."""
        child.say(ask("tokens=5 half=2"))
        child.until(Delta)

        with pytest.raises(queue.Empty):
            listen_for_ever(child)
        assert child.exit_code is None

    def test_a_flood_knows_no_stop_and_no_limit(self, child: Child) -> None:
        """It goes on past both, while others are served."""
        child.say(ask("tokens=5 flood=2"))
        while "flood" not in child.until(Delta)[-1].text:
            pass  # a stop that comes before it would be obeyed
        child.say(Stop(request_id="r1"), ask("tokens=3", "r2"))
        heard = child.until(Done)

        assert heard[-1].request_id == "r2"
        assert sum(frame.request_id == "r1" for frame in child.until(Delta)) == 1

    def test_a_piece_for_somebody_else(self, child: Child) -> None:
        """In the midst of a good answer."""
        child.say(ask("tokens=3 wrong=1"))
        heard = child.until(Done)

        assert [frame.request_id for frame in heard if isinstance(frame, Delta)] == [
            "r1", "nobody", "r1", "r1",
        ]  # fmt: skip

    def test_a_piece_sent_twice(self, child: Child) -> None:
        """Under one number."""
        child.say(ask("tokens=3 dup=1"))
        heard = child.until(Done)

        pieces = [(frame.seq, frame.text) for frame in heard if isinstance(frame, Delta)]
        assert pieces == [(0, "t0 "), (1, "twice "), (1, "twice "), (2, "t1 "), (3, "t2 ")]

    @pytest.mark.parametrize("word", ["hang", "stuck", "busy"])
    def test_a_hang_beats_on_and_obeys_nobody(self, child: Child, word: str) -> None:
        """With or without a core at work."""
        child.say(ask(f"tokens=5 {word}=1"))
        child.until(Delta)
        child.say(Stop(request_id="r1"))

        beats = [child.until(Heartbeat)[-1] for _ in range(4)]

        assert [beat.active for beat in beats] == [1, 1, 1, 1]

    def test_a_leak_grows_with_every_answer(self, child: Child) -> None:
        """By what was asked for, and for good."""
        before = child.until(Heartbeat)[-1].rss_bytes
        for number in range(3):
            child.say(ask("leak=20 tokens=1", f"r{number}"))
            child.until(Done)

        assert child.until(Heartbeat)[-1].rss_bytes - before > 55 << 20

    def test_memory_that_runs_out_is_told(self, child: Child) -> None:
        """And costs nobody else anything."""
        child.say(ask("tokens=5 oom=2"), ask("tokens=2", "r2"))
        ends: dict[str, Any] = {}
        while len(ends) < 2:
            last = child.until(Done, Failed)[-1]
            ends[last.request_id] = last

        assert ends["r1"].code == "out_of_memory"
        assert isinstance(ends["r2"], Done)

    def test_prefill_hears_a_stop_unless_it_is_deaf(self, child: Child) -> None:
        """As native code may be."""
        child.say(ask("prefill=30"), ask("prefill=1.5 deaf tokens=1", "deaf"))
        child.until(Prefilling)
        begun_s = time.monotonic()
        child.say(Stop(request_id="r1"), Stop(request_id="deaf"))
        ends = [child.until(Done)[-1] for _ in range(2)]

        assert [end.request_id for end in ends] == ["r1", "deaf"]
        assert time.monotonic() - begun_s > 0.5
        assert {end.finish_reason for end in ends} == {"cancelled"}


class TestInjected:
    def test_a_killed_answer_takes_the_process_along(self, child: Child) -> None:
        """It is the worker's own."""
        child.say(ask("tokens=5", fault="kill"))

        assert child.wait() == -signal.SIGKILL

    def test_a_killed_load_takes_the_process_along(self, make_child: Callable[[], Child]) -> None:
        """Before the runtime is asked."""
        child = make_child()
        child.say(
            Load(
                model="m",
                variant={},
                home="/tmp",
                slots=1,
                context_tokens=100,
                threads=1,
                fault="kill",
            )
        )

        assert child.wait() == -signal.SIGKILL

    def test_a_hung_worker_that_is_told_to_leave_leaves(
        self, make_child: Callable[[], Child]
    ) -> None:
        """The end of its pipe is enough: it fails what hung, and goes."""
        child = make_child()
        child.say(
            Load(
                model="m",
                variant={},
                home="/tmp",
                slots=1,
                context_tokens=100,
                threads=1,
                fault="hang",
            )
        )
        child.until(Heartbeat)
        child.worker.close()

        assert isinstance(child.until(LoadFailed)[-1], LoadFailed)
        assert child.wait() == 0

"""The embedded model in a child of its own: stopped, timed out and ended while it reads."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orion.protocol import Done, Failed, Generate, Loaded, LoadFailed, Prefilling, Started, Stop
from tests.fakes.child import Child, embedded

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

CLASSES = {
    "llamacpp": "orion.runtime.llamacpp:LlamaCppRuntime",
    "transformers": "orion.runtime.transformers:TransformersRuntime",
}
LONG = "word " * 3400


def ask(text: str, request_id: str = "r1", *, max_tokens: int = 4, **given: Any) -> Generate:
    return Generate(
        request_id=request_id,
        messages=[["user", text]],
        sampling={"max_tokens": max_tokens, "temperature": 0.0, "seed": 1},
        **given,
    )


def loaded(name: str, home: Path) -> Child:
    """A worker with the embedded model in it."""
    child = Child(CLASSES[name])
    try:
        child.say(embedded(home, name))
        assert isinstance(child.until(Loaded, LoadFailed, limit_s=300)[-1], Loaded)
    except BaseException:
        child.end()
        raise
    return child


@pytest.fixture(scope="module", params=sorted(CLASSES))
def name(request: pytest.FixtureRequest) -> str:
    """Of a runtime."""
    return str(request.param)


@pytest.fixture(scope="module")
def child(name: str, shared_home: Path) -> Iterator[Child]:
    """One worker; every test leaves it able to answer."""
    made = loaded(name, shared_home)
    yield made
    made.end()


def assert_it_answers(child: Child) -> None:
    """Whole and at once: nothing of what was cancelled is left in the way."""
    child.say(ask("Count from one to ten.", "next"))
    done = child.until(Done, Failed)[-1]
    assert isinstance(done, Done), done
    assert (done.request_id, done.finish_reason) == ("next", "length")


class TestPrefill:
    def test_a_stop_is_heard_in_the_middle_of_a_long_prompt(self, child: Child) -> None:
        """The rest is not read, and the same process answers on."""
        child.say(ask(LONG))
        *_, started, told = child.until(Prefilling, Done, Failed)
        assert isinstance(started, Started)
        assert isinstance(told, Prefilling)

        child.say(Stop(request_id="r1"))
        heard = child.until(Done, Failed)

        read = [frame.read_tokens for frame in (told, *heard[:-1])]
        assert read == sorted(read)
        assert read[-1] < started.prompt_tokens * 0.7
        assert (heard[-1].finish_reason, heard[-1].completion_tokens) == ("cancelled", 0)
        assert_it_answers(child)

    def test_a_deadline_ends_it_too(self, child: Child) -> None:
        """Nobody has to ask."""
        child.say(ask(LONG, deadline_s=time.monotonic() + 0.6))
        heard = child.until(Done, Failed)

        assert (heard[-1].finish_reason, heard[-1].completion_tokens) == ("cancelled", 0)
        assert_it_answers(child)

    def test_ctrl_c_is_left_to_the_parent(self, child: Child) -> None:
        """The terminal sends it to everybody; the worker reads on."""
        child.say(ask("Count from one to ten. " * 60))
        child.until(Started)

        assert child.worker.pid
        os.kill(child.worker.pid, signal.SIGINT)

        assert isinstance(child.until(Done, Failed)[-1], Done)
        assert_it_answers(child)

    def test_a_term_signal_ends_it_while_it_reads(self, name: str, shared_home: Path) -> None:
        """At once: native code does not hold it up."""
        child = loaded(name, shared_home)
        try:
            child.say(ask(LONG))
            child.until(Prefilling)

            assert child.worker.pid
            os.kill(child.worker.pid, signal.SIGTERM)

            assert child.wait() == -signal.SIGTERM
        finally:
            child.end()

"""The worker's loop, fed by hand: frames in, frames out, nothing lost on the way."""

from __future__ import annotations

import threading
import time

import pytest

from orion.errors import BadWeightsError, GenerationError
from orion.protocol import (
    Delta,
    Done,
    Exit,
    Failed,
    Generate,
    Heartbeat,
    LoadFailed,
    LoadProgress,
    Ready,
    Started,
    Stop,
)
from orion.runtime.base import Generated, Job, LoadedModel, Output
from orion.runtime.memory import rss_bytes
from orion.types import FinishReason
from tests.fakes.bench import LIMIT_S, LOAD, NEVER_S, Bench, Scripted, generate, generated, raising

TorchsOwn = type("OutOfMemoryError", (RuntimeError,), {})
"""As torch names its own."""


@pytest.fixture
def bench(make_bench) -> Bench:
    """A loop whose model is loaded."""
    bench = make_bench()
    bench.load()
    return bench


class TestStart:
    def test_it_says_when_it_is_ready(self, make_bench):
        """Imports are done, a load may come."""
        (ready,) = make_bench().until(Ready)

        assert isinstance(ready, Ready)
        assert ready.runtime == "fake"
        assert ready.seconds >= 0

    @pytest.mark.parametrize(
        "make",
        [raising(ImportError("no such library")), lambda: Scripted(warm=raising(OSError("no")))],
        ids=["made", "warmed up"],
    )
    def test_a_runtime_that_cannot_start_says_so_and_leaves(self, make_bench, make):
        """With a status that is not 0."""
        bench = make_bench(make)
        heard = bench.end()

        assert [type(frame) for frame in heard] == [LoadFailed]
        assert heard[0].code == "load_failed"
        assert "Error: no" in heard[0].facts["reason"]
        assert "Traceback" in heard[0].detail
        assert bench.loop.exit_code == 3


class TestLoad:
    def test_a_load_tells_how_far_it_is_and_how_it_ended(self, make_bench):
        """Progress, then what came of it."""
        bench = make_bench()
        heard = bench.load()

        assert [frame.ratio for frame in heard if isinstance(frame, LoadProgress)] == [
            0.0, 0.25, 0.5, 0.75,
        ]  # fmt: skip
        loaded = heard[-1]
        assert (loaded.model, loaded.slots, loaded.context_tokens) == ("m", 2, 100)
        assert loaded.details == {"fake": True}
        assert loaded.memory_bytes > 1_000_000

    def test_the_runtime_is_told_what_the_frame_says(self, make_bench):
        """Path and all."""
        specs = []

        def load(spec, progress):
            specs.append(spec)
            return LoadedModel(slots=spec.slots, context_tokens=spec.context_tokens)

        bench = make_bench(lambda: Scripted(load=load))
        bench.load()

        assert specs[0].home.as_posix() == LOAD.home
        assert (specs[0].slots, specs[0].threads, specs[0].kv_bytes) == (2, 1, 9)

    @pytest.mark.parametrize(
        ("error", "code", "reason"),
        [
            (RuntimeError("bad\n  file"), "load_failed", "RuntimeError: bad file"),
            (MemoryError(), "load_failed", "not enough memory"),
            (TorchsOwn(), "load_failed", "not enough memory"),
            (KeyError(), "load_failed", "KeyError"),
            (SystemExit(3), "load_failed", "SystemExit: 3"),
        ],
        ids=repr,
    )
    def test_a_failed_load_has_a_reason(self, make_bench, error, code, reason):
        """Whatever the library raised; the trace is for the log."""
        bench = make_bench(lambda: Scripted(load=raising(error)))
        bench.say(LOAD)
        failed = bench.until(LoadFailed)[-1]

        assert (failed.model, failed.code, failed.facts["reason"]) == ("m", code, reason)
        assert failed.facts["model"] == "m"
        assert type(error).__name__ in failed.detail

    def test_an_error_of_ours_keeps_its_code_and_facts(self, make_bench):
        """Made plain where they are not."""
        error = BadWeightsError(
            model="m", file="a\ud800.gguf", expected=2**70, got=5, twice=1.5, known=True, none=None
        )
        bench = make_bench(lambda: Scripted(load=raising(error)))
        bench.say(LOAD)
        failed = bench.until(LoadFailed)[-1]

        assert failed.code == "bad_weights"
        assert failed.facts == {
            "model": "m",
            "file": "a\\ud800.gguf",
            "expected": str(2**70),
            "got": 5,
            "twice": 1.5,
            "known": True,
            "none": None,
        }

    def test_details_that_cannot_travel_fail_the_load(self, make_bench):
        """Instead of leaving the parent to wait."""

        def load(spec, progress):
            return LoadedModel(slots=1, context_tokens=1, details={"device": object()})

        bench = make_bench(lambda: Scripted(load=load))
        bench.say(LOAD)

        assert "FrameError" in bench.until(LoadFailed)[-1].facts["reason"]


class TestGenerate:
    def test_an_answer_is_started_told_and_done(self, bench):
        """In this order, with what was counted."""
        bench.say(generate("one two", interval_s=0.0))
        heard = bench.until(Done)

        assert isinstance(heard[0], Started)
        assert heard[0].prompt_tokens == 2
        deltas = heard[1:-1]
        assert [frame.seq for frame in deltas] == [0, 1]
        assert "".join(frame.text for frame in deltas) == "echo: one two"
        assert (heard[-1].finish_reason, heard[-1].completion_tokens) == ("stop", 2)

    def test_two_answers_run_at_once(self, bench):
        """The second is done while the first goes on."""
        bench.say(generate("tokens=5000 delay=0.01", "slow"), generate("quick", "quick"))

        assert bench.until(Done)[-1].request_id == "quick"
        bench.say(Stop(request_id="slow"))
        assert bench.until(Done)[-1].finish_reason == "cancelled"

    def test_a_stop_for_nobody_is_nothing(self, bench):
        """It came after the end."""
        bench.say(Stop(request_id="gone"), generate("hello"))

        assert isinstance(bench.until(Done, Failed)[-1], Done)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (RuntimeError("out of luck"), "RuntimeError: out of luck"),
            (RuntimeError("bad \ud800"), "RuntimeError: bad \\ud800"),
            (SystemExit(), "SystemExit"),
            (GenerationError(reason="known"), "known"),
        ],
        ids=["plain", "surrogate", "no Exception", "ours"],
    )
    def test_a_failure_is_told_and_the_worker_lives(self, make_bench, error, reason):
        """The next question is answered."""
        answers = iter([raising(error), lambda *_: generated()])

        def in_turn(job: Job, output: Output) -> Generated:
            return next(answers)(job, output)

        bench = make_bench(lambda: Scripted(answer=in_turn))
        bench.say(generate("first"))
        failed = bench.until(Failed)[-1]

        assert (failed.code, failed.facts) == ("generation_failed", {"reason": reason})
        assert failed.detail.startswith("Traceback")
        bench.say(generate("second"))
        assert isinstance(bench.until(Done, Failed)[-1], Done)

    @pytest.mark.parametrize(
        "error",
        [MemoryError(), TorchsOwn("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: no")],
        ids=["Python's", "torch's", "torch's on a CPU"],
    )
    def test_memory_that_runs_out_has_a_code_of_its_own(self, make_bench, error):
        """Whoever noticed it; the library's words are for the log."""
        bench = make_bench(lambda: Scripted(answer=raising(error)))
        bench.say(generate("hello"))
        failed = bench.until(Failed)[-1]

        assert failed.code == "out_of_memory"
        assert failed.facts == {"reason": "there is not enough memory for this answer"}

    def test_what_came_before_a_failure_is_delivered(self, bench):
        """Held back or not."""
        bench.say(generate("tokens=5 fail=3", interval_s=NEVER_S))
        heard = bench.until(Failed)

        assert "".join(frame.text for frame in heard if isinstance(frame, Delta)) == "t0 t1 t2 "
        assert heard[-1].facts["reason"] == "RuntimeError: scripted failure"

    @pytest.mark.parametrize("interval_s", [0.0, NEVER_S])
    def test_text_that_cannot_travel_fails_the_answer(self, make_bench, interval_s):
        """It does not leave the caller waiting for an end."""

        def answer(job, output):
            output.piece("good ", 1)
            output.piece("\ud800", 1)
            return generated()

        bench = make_bench(lambda: Scripted(answer=answer))
        bench.say(generate("hello", interval_s=interval_s))
        heard = bench.until(Done, Failed)

        assert isinstance(heard[-1], Failed)
        assert "FrameError" in heard[-1].facts["reason"]
        assert [frame.text for frame in heard if isinstance(frame, Delta)] == ["good "]

    @pytest.mark.parametrize(
        "frame",
        [
            Generate(request_id="r1", messages=[["wizard", "hello"]], sampling={}),
            Generate(request_id="r1", messages=[["user"]], sampling={}),
            Generate(request_id="r1", messages=[["user", "x"]], sampling={"unknown": 1}),
        ],
        ids=["role", "message", "sampling"],
    )
    def test_a_question_that_makes_no_sense_is_a_failure(self, bench, frame):
        """Not the end of the worker."""
        bench.say(frame)

        assert bench.until(Failed)[-1].code == "generation_failed"

    def test_a_prompt_too_long_keeps_its_code(self, bench):
        """The caller can shorten it."""
        bench.say(generate("word " * 100))
        failed = bench.until(Failed)[-1]

        assert failed.code == "context_too_long"
        assert failed.facts == {"prompt_tokens": 100, "context_tokens": 100}


class TestEmptyAnswer:
    """Whoever ends its turn without a word has failed; whoever is ended has not."""

    @pytest.mark.parametrize("text", ["", " \n"])
    def test_an_end_without_a_visible_word_is_a_failure(self, make_bench, text):
        """And no white space was delivered as if it were an answer."""

        def answer(job, output):
            output.piece(text, 1)
            return generated(finish_reason=FinishReason.STOP)

        bench = make_bench(lambda: Scripted(answer=answer))
        bench.load()
        bench.say(generate("hello", interval_s=0.0))
        heard = bench.until(Done, Failed)

        assert [type(frame) for frame in heard] == [Failed]
        assert (heard[-1].code, heard[-1].facts) == ("empty_answer", {"model": "m"})

    @pytest.mark.parametrize("text", ["", " \n"])
    @pytest.mark.parametrize("finish", [FinishReason.LENGTH, FinishReason.CANCELLED])
    def test_an_answer_cut_short_may_be_empty(self, make_bench, finish, text):
        """Its white space is delivered."""

        def answer(job, output):
            output.piece(text, 1)
            return generated(finish_reason=finish)

        bench = make_bench(lambda: Scripted(answer=answer))
        bench.say(generate("hello"))
        heard = bench.until(Done, Failed)

        assert isinstance(heard[-1], Done)
        assert "".join(frame.text for frame in heard if isinstance(frame, Delta)) == text

    @pytest.mark.parametrize(("tokens", "kind"), [(1, Done), (0, Failed)])
    def test_a_stop_string_met_at_once_is_no_failure(self, make_bench, tokens, kind):
        """Its tokens were made and withheld; an end at the very first token is one still."""
        ended = generated(finish_reason=FinishReason.STOP, completion_tokens=tokens)
        bench = make_bench(lambda: Scripted(answer=lambda *_: ended))
        bench.say(Generate(request_id="r1", messages=[["user", "x"]], sampling={"stop": ["x"]}))

        assert isinstance(bench.until(Done, Failed)[-1], kind)

    def test_the_fake_can_play_it(self, bench):
        """Its script says so in a word."""
        bench.say(generate("empty"), generate("an empty echo", "r2"))
        heard = [bench.until(Done, Failed)[-1] for _ in range(2)]

        assert {frame.request_id: type(frame) for frame in heard} == {"r1": Failed, "r2": Done}


class TestDeadline:
    def test_a_job_ends_by_itself_when_its_time_is_over(self, bench):
        """Nobody has to ask."""
        bench.say(generate("tokens=50000 delay=0.01", deadline_s=time.monotonic() + 0.1))

        assert bench.until(Done, Failed)[-1].finish_reason == "cancelled"

    def test_time_that_was_over_before_costs_nothing(self, bench):
        """Not a token."""
        bench.say(generate("tokens=50", deadline_s=time.monotonic() - 1.0))
        done = bench.until(Done, Failed)[-1]

        assert (done.finish_reason, done.completion_tokens) == ("cancelled", 0)

    def test_time_to_spare_changes_nothing(self, bench):
        """The answer ends as it would."""
        bench.say(generate("tokens=5", deadline_s=time.monotonic() + NEVER_S))

        assert bench.until(Done, Failed)[-1].finish_reason == "stop"


class TestHeartbeat:
    def test_it_beats_with_size_and_counts(self, make_bench):
        """Tokens of answers under way and of those that ended."""
        bench = make_bench(heartbeat_s=0.005)
        bench.load()
        bench.say(generate("tokens=7"), generate("tokens=20000 delay=0.001", "r2"))
        bench.until(Done)

        beat = bench.until(Heartbeat)[-1]
        while not (beat.active == 1 and beat.num_tokens > 10):
            beat = bench.until(Heartbeat)[-1]
        assert beat.rss_bytes > 1_000_000
        bench.say(Stop(request_id="r2"))
        done = bench.until(Done)[-1]
        while beat.active:
            beat = bench.until(Heartbeat)[-1]
        assert beat.num_tokens == 7 + done.completion_tokens

    def test_the_size_is_that_of_this_process(self):
        """In bytes."""
        assert 1_000_000 < rss_bytes() < 1 << 40


class TestEnd:
    @pytest.mark.parametrize("last", [Exit(), None], ids=["told", "pipe closed"])
    def test_it_stops_its_answers_and_lets_go_of_the_model(self, make_bench, last):
        """Nothing runs on after `run` has returned."""
        runtime = Scripted()
        bench = make_bench(lambda: runtime)
        bench.load()
        bench.say(generate("tokens=5000 delay=0.01"))
        bench.until(Delta)

        bench.inbox.put(last)
        bench.thread.join(LIMIT_S)

        assert bench.until(Done)[-1].finish_reason == "cancelled"
        assert runtime.closed == 1
        assert bench.loop.exit_code == 0

    def test_it_does_not_wait_for_ever_for_a_model_that_hangs(self, make_bench):
        """And does not pull the model from under it."""
        free = threading.Event()
        begun = threading.Event()

        def answer(job, output):
            begun.set()
            free.wait(LIMIT_S)
            return generated()

        runtime = Scripted(answer=answer)
        bench = make_bench(lambda: runtime)
        bench.say(generate("hello"))
        begun.wait(LIMIT_S)

        bench.end()

        assert runtime.closed == 0
        free.set()

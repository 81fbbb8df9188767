"""Faults acted out on purpose, in a worker that shares the process of its parent."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from orion.protocol import Done, Failed, Heartbeat, Loaded, LoadFailed, LoadProgress, Stop
from orion.runtime import faults
from orion.types import FaultKind
from tests.fakes.bench import LOAD, generate

NO_MEMORY = "there is not enough memory for this answer"


@pytest.fixture
def bench(make_bench):
    """A loop whose model is loaded, and which beats."""
    bench = make_bench(heartbeat_s=0.005)
    bench.load()
    return bench


class TestGenerate:
    @pytest.mark.parametrize(
        ("kind", "code", "facts"),
        [
            (FaultKind.FAIL, "generation_failed", {"reason": "injected"}),
            (FaultKind.OOM, "out_of_memory", {"reason": NO_MEMORY}),
            (FaultKind.KILL, "worker_died", {"model": "m", "exit_code": -9}),
            ("earthquake", "generation_failed", {"reason": "there is no fault 'earthquake'"}),
        ],
    )
    def test_a_fault_costs_one_answer(self, bench, kind, code, facts):
        """Before its first piece; the next one is given. A death is played, not died."""
        bench.say(generate("tokens=5", fault=str(kind)))
        failed = bench.until(Failed, Done)[-1]

        assert (failed.code, failed.facts) == (code, facts)
        bench.say(generate("tokens=5"))
        assert isinstance(bench.until(Failed, Done)[-1], Done)

    def test_slow_is_alive_and_obeys(self, bench, monkeypatch):
        """A pause before every piece; a stop ends it."""
        monkeypatch.setattr(faults, "SLOW_PIECE_S", 0.06)
        begun_s = time.monotonic()
        bench.say(generate("tokens=3", fault="slow"))
        done = bench.until(Failed, Done)[-1]
        passed_s = time.monotonic() - begun_s

        assert (done.finish_reason, done.completion_tokens) == ("stop", 3)
        assert passed_s > 3 * 0.06
        monkeypatch.setattr(faults, "SLOW_PIECE_S", 3600.0)
        bench.say(generate("tokens=3", fault="slow"), Stop(request_id="r1"))
        assert bench.until(Failed, Done)[-1].finish_reason == "cancelled"

    def test_a_hang_neither_moves_nor_obeys_while_heartbeats_go_on(self, bench):
        """It counts as under way, and holds up nobody else."""
        bench.say(generate("tokens=5", "stuck", fault="hang"), Stop(request_id="stuck"))
        bench.say(generate("tokens=5", "other"))

        assert bench.until(Failed, Done)[-1].request_id == "other"
        beats = []
        while len(beats) < 5:
            beats += [beat for beat in bench.until(Heartbeat) if isinstance(beat, Heartbeat)]
        assert beats[-1].active == 1

    def test_a_hang_ends_with_the_worker(self, bench):
        """A thread of the parent's process is not left behind."""
        bench.say(generate("tokens=5", fault="hang"))
        while not bench.until(Heartbeat)[-1].active:
            pass

        heard = bench.end()

        assert [frame.facts for frame in heard if isinstance(frame, Failed)] == [
            {"reason": "injected"}
        ]


class TestLoad:
    @pytest.mark.parametrize(
        ("kind", "reason"),
        [
            (FaultKind.FAIL, "injected"),
            (FaultKind.OOM, "not enough memory"),
            (FaultKind.KILL, "its process ended while loading"),
            ("earthquake", "there is no fault 'earthquake'"),
        ],
    )
    def test_a_fault_fails_the_load(self, make_bench, kind, reason):
        """With its reason."""
        bench = make_bench()
        bench.say(replace(LOAD, fault=str(kind)))
        failed = bench.until(LoadFailed, Loaded)[-1]

        assert (failed.code, failed.facts) == ("load_failed", {"model": "m", "reason": reason})

    def test_slow_tells_that_it_is_alive(self, make_bench, monkeypatch):
        """And loads in the end."""
        monkeypatch.setattr(faults, "SLOW_LOAD_S", 0.05)
        monkeypatch.setattr(faults, "_PROGRESS_EVERY_S", 0.01)

        heard = make_bench().load(fault="slow")

        phases = [frame.phase for frame in heard if isinstance(frame, LoadProgress)]
        assert phases[:2] == ["initializing", "initializing"]
        assert phases[-4:] == ["loading_shard"] * 4

    def test_a_hang_says_nothing(self, make_bench):
        """Only heartbeats come."""
        bench = make_bench(heartbeat_s=0.005)
        bench.say(replace(LOAD, fault="hang"))
        heard = [bench.until(Heartbeat)[-1] for _ in range(5)]

        assert all(isinstance(frame, Heartbeat) for frame in heard)
        assert any(isinstance(frame, LoadFailed) for frame in bench.end())

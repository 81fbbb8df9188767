"""`python -m orion` as people and scripts run it: pipes, signals, the embedded model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orion.settings import PACKAGE_ROOT
from tests.conftest import FAKE_RUNTIME
from tests.process.test_worker_process import is_gone, wait_for

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

ORION = [sys.executable, "-m", "orion"]
LONG = "tokens=100000 delay=0.01"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The fake runtime in child processes, and nothing outside the test's folder."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return {
        **os.environ,
        "ORION_HOME": str(tmp_path / "home"),
        "ORION_RUNTIME_CLASS": FAKE_RUNTIME,
        "TMPDIR": str(temporary),
    }


@pytest.fixture
def asking(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A very long answer under way: its first words have come."""
    # Where the tests run in the background of a shell, Ctrl-C would be ignored by inheritance.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*ORION, "ask", LONG, "--max-tokens", "4096"],
            cwd=PACKAGE_ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert process.stdout
        assert process.stdout.read(6) == b"t0 t1 "
        yield process
    finally:
        process.kill()
        process.communicate()


def run(environment: dict[str, str], *arguments: str, **options: Any) -> Any:
    """Run a command to its end."""
    return subprocess.run(
        [*ORION, *arguments],
        cwd=PACKAGE_ROOT,
        env=environment,
        capture_output=True,
        check=False,
        timeout=120,
        **options,
    )


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Ids of every process below it."""
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


class TestSignals:
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_signal_ends_the_answer_and_every_child(self, asking, number, status):
        """Quietly: no traceback, no orphan."""
        children = children_of(asking)

        asking.send_signal(number)
        _, errors = asking.communicate(timeout=20)

        assert children
        assert asking.returncode == status
        assert b"Traceback" not in errors
        assert wait_for(lambda: all(is_gone(child) for child in children))

    def test_killed_command_leaves_no_child(self, asking):
        """Not even then."""
        children = children_of(asking)

        asking.kill()

        assert children
        assert wait_for(lambda: all(is_gone(child) for child in children))

    def test_reader_that_leaves_ends_the_command(self, asking):
        """`orion ask … | head -1`."""
        children = children_of(asking)

        assert asking.stdout
        asking.stdout.close()
        asking.stdout = None
        _, errors = asking.communicate(timeout=20)

        assert asking.returncode == 141
        assert errors == b""
        assert wait_for(lambda: all(is_gone(child) for child in children))


class TestStreams:
    def test_json_is_one_document_and_logs_go_to_stderr(self, environment):
        """Even when everything is logged."""
        ran = run({**environment, "ORION_LOG__LEVEL": "DEBUG"}, "ask", "say tokens=3", "--json")

        assert ran.returncode == 0
        assert json.loads(ran.stdout)["text"].split() == ["t0", "t1", "t2"]
        assert b"engine.started" in ran.stderr

    def test_head_of_many_routes_is_quiet(self, environment, tmp_path):
        """The shell's own pipe; nothing is said about it."""
        file = tmp_path / "in.jsonl"
        file.write_text('{"text": "hello"}\n' * 5000)
        command = f"{sys.executable} -m orion route --file {file} | head -n 2"

        ran = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=PACKAGE_ROOT,
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )

        assert len(ran.stdout.splitlines()) == 2
        assert ran.stderr == b""

    def test_stdin_is_read_through_a_pipe(self, environment):
        """`echo … | orion ask -`."""
        ran = run(environment, "ask", "-", input="où ?\n".encode())

        assert ran.stdout.decode().strip() == "echo: où ?"

    def test_other_terminal_encodings_do_not_break_the_answer(self, environment):
        """What cannot be shown is escaped."""
        ran = run({**environment, "PYTHONIOENCODING": "ascii"}, "ask", "où ?", "--json")

        assert ran.returncode == 0
        assert json.loads(ran.stdout)["text"].strip() == "echo: où ?"

    def test_worker_that_dies_is_one_line(self, environment):
        """With the code, and status 1."""
        ran = run(environment, "ask", "tokens=5 die=2")

        assert ran.returncode == 1
        assert ran.stderr.decode().strip().endswith("[worker_died]")
        assert len(ran.stderr.splitlines()) == 1

    def test_home_that_cannot_be_written_to_does_not_stop_an_answer(self, environment, tmp_path):
        """Nothing of an answer is stored."""
        (tmp_path / "file").write_text("")

        ran = run({**environment, "ORION_HOME": str(tmp_path / "file" / "x")}, "ask", "tokens=1")

        assert ran.returncode == 0


class TestEmbeddedModel:
    @pytest.fixture
    def real(self, environment, shared_home):
        """The model itself, in a home that lasts for the run."""
        kept = {name: value for name, value in environment.items() if "RUNTIME" not in name}
        return {**kept, "ORION_HOME": str(shared_home), "ORION_RUNTIME": "llamacpp"}

    def test_code_is_asked_of_the_code_agent_and_comes_in_a_fence(self, real):
        """A question of the demonstration."""
        question = "Write a Python function that reverses a string"

        answer = json.loads(run(real, "ask", question, "--seed", "1", "--json").stdout)

        assert answer["agent"] == "code-agent"
        assert answer["runtime"] == "llamacpp"
        assert re.search(r"```python\n.*def .*\[::-1\]", answer["text"], re.DOTALL)

    def test_french_question_gets_a_french_answer_with_the_name(self, real):
        """The other question of the demonstration."""
        ran = run(real, "ask", "Bonjour, qui es-tu ?", "--temperature", "0", "--max-tokens", "40")

        assert "Je suis ORION" in ran.stdout.decode()

    def test_same_seed_gives_the_same_answer(self, real):
        """Across processes."""
        arguments = ("ask", "Name a colour.", "--seed", "7", "--max-tokens", "8")

        assert run(real, *arguments).stdout == run(real, *arguments).stdout


class TestImportGguf:
    def test_file_that_is_no_gguf_is_refused(self, environment, tmp_path):
        """By the child; nothing is left behind."""
        source, out = tmp_path / "x.gguf", tmp_path / "out"
        source.write_bytes(b"no weights")

        ran = run(environment, "import-gguf", str(source), str(out), "--json")

        assert ran.returncode == 1
        assert json.loads(ran.stdout)["error"]["code"] == "conversion_failed"
        assert ran.stderr.decode().strip().endswith("[conversion_failed]")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp", "x.gguf"]

    def test_child_of_a_tool_ends_with_its_parent_and_takes_its_traces_away(
        self, environment, tmp_path
    ):
        """It watches its standard input; Ctrl-C is not its to answer."""
        child = subprocess.Popen(
            [sys.executable, "-m", "orion.cli.tool_child", "tests.fakes.tools:hangs", "out"],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(PACKAGE_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert child.stdout
            assert json.loads(child.stdout.readline())["progress"] == "importing"
            child.send_signal(signal.SIGINT)

            child.communicate(timeout=20)

            assert child.returncode == 1
            assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
        finally:
            child.kill()
            child.communicate()

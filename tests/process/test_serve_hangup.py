"""SIGHUP: `models.json` is read again; a terminal that was closed ends the app."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from orion.settings import PACKAGE_ROOT
from tests.conftest import FAKE_RUNTIME
from tests.process.test_serve import App
from tests.process.test_worker_process import wait_for

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


def names(app: App) -> list[str]:
    """What `/v1/models` lists."""
    return [entry["id"] for entry in app.get("/v1/models")["data"]]


def with_poet() -> dict[str, Any]:
    """The shipped registry and one more agent."""
    document: dict[str, Any] = json.loads((PACKAGE_ROOT / "models.json").read_text())
    document["agents"]["poet"] = copy.deepcopy(document["agents"]["creative-agent"])
    return document


class TestHangup:
    def test_reads_the_registry_again(self, tmp_path: Path) -> None:
        """While answers stream; a broken file keeps the one in force, and says why."""
        file = tmp_path / "models.json"
        file.write_text((PACKAGE_ROOT / "models.json").read_text())
        app = App(tmp_path, ORION_REGISTRY=str(file))
        try:
            assert app.ready()
            stream = app.stream()
            file.write_text(json.dumps(with_poet()))
            for _ in range(20):
                app.process.send_signal(signal.SIGHUP)
            assert wait_for(lambda: "poet" in names(app))

            file.write_text('{"version": 1')
            app.process.send_signal(signal.SIGHUP)

            told = "ORION keeps its registry: models.json: $: is no JSON"
            assert wait_for(lambda: any(line.startswith(told) for line in app.errors))
            assert "poet" in names(app)
            assert stream.readline() == b"\n"
            assert stream.readline().startswith(b"data: ")
        finally:
            app.process.terminate()
            app.process.terminate()
            app.end()

    @pytest.mark.skipif(not hasattr(termios, "TIOCSCTTY"), reason="no controlling terminals here")
    def test_from_a_terminal_that_has_gone_ends_the_app(self, tmp_path: Path) -> None:
        """As it would have without us: nobody is left to stop it."""
        ours, theirs = os.openpty()
        environment = {
            **os.environ,
            "ORION_HOME": str(tmp_path),
            "ORION_PORT": "0",
            "ORION_RUNTIME_CLASS": FAKE_RUNTIME,
        }
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=PACKAGE_ROOT,
            env=environment,
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        try:
            assert process.stderr
            assert any(b"ORION answers" in line for line in process.stderr)

            os.close(theirs)
            os.close(ours)

            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()

"""The whole app as a process: started, asked, told to stop, killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orion.settings import PACKAGE_ROOT
from tests.conftest import FAKE_RUNTIME
from tests.process.test_worker_process import is_gone, wait_for

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

LONG_TEXT = "tokens=100000 delay=0.01"
LONG = {
    "model": "auto",
    "stream": True,
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": LONG_TEXT}],
}


class App:
    """`app.py` in a process of its own, on the fake runtime."""

    def __init__(self, home: Path, **variables: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.temporary = home / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "ORION_HOME": str(home / "orion"),
            "ORION_PORT": str(self.port),
            "ORION_RUNTIME_CLASS": FAKE_RUNTIME,
            "TMPDIR": str(self.temporary),
            **variables,
        }
        self.process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=PACKAGE_ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.errors.extend(self.process.stderr)

    def ready(self) -> bool:
        """Whether the app came up."""
        return wait_for(lambda: self.get("/livez") is not None, limit_s=60)

    def get(self, path: str) -> Any:
        """The JSON at `path`, or None when nothing answers."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=5) as answer:
                return json.loads(answer.read())
        except OSError:
            return None

    def url(self, path: str) -> str:
        """Address of `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def children(self) -> list[int]:
        """Ids of every process below this one."""
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def running(self) -> int:
        """Requests that are being answered."""
        with urllib.request.urlopen(self.url("/metrics"), timeout=5) as metrics:
            lines = metrics.read().decode().splitlines()
        found = next(line for line in lines if line.startswith("orion_requests_running "))
        return int(float(found.split()[-1]))

    def open(self, path: str, value: Any) -> Any:
        """The answer to `value` posted to `path`, not read yet."""
        request = urllib.request.Request(
            self.url(path),
            data=json.dumps(value).encode(),
            headers={"Content-Type": "application/json"},
        )
        return urllib.request.urlopen(request, timeout=30)

    def post(self, path: str, value: Any) -> Any:
        """The JSON that answers `value` posted to `path`."""
        with self.open(path, value) as answer:
            return json.loads(answer.read())

    def stream(self, text: str = LONG_TEXT) -> Any:
        """An open answer, very long by default, with its first bytes read."""
        messages = [{"role": "user", "content": text}]
        answer = self.open("/v1/chat/completions", {**LONG, "messages": messages})
        assert answer.readline().startswith(b"data: ")
        return answer

    def end(self) -> int:
        """Exit status, once the process is over."""
        status = self.process.wait(30)
        self._reader.join(5)
        if self.process.stderr:
            self.process.stderr.close()
        return status


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """A running app, killed if the test did not end it."""
    made = App(tmp_path)
    try:
        assert made.ready(), made.errors
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.end()


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_streams_with_a_message_and_leaves_nothing(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        """Exit status 0, the answer under way is told why, no child, no temporary file."""
        app = App(tmp_path, ORION_GRACE_S="0.3")
        assert app.ready(), app.errors
        stream = app.stream()
        children = app.children()
        assert children

        app.process.send_signal(number)
        rest = stream.read().decode()

        assert app.end() == 0, app.errors
        assert "shutting_down" in rest
        assert all(is_gone(pid) for pid in children)
        assert list(app.temporary.rglob("*")) == []
        assert "Traceback" not in "".join(app.errors)

    def test_an_answer_under_way_is_finished(self, tmp_path: Path) -> None:
        """Within the grace nothing is cut off."""
        app = App(tmp_path, ORION_GRACE_S="20")
        assert app.ready(), app.errors
        stream = app.stream("tokens=150 delay=0.01")

        app.process.terminate()
        rest = stream.read().decode()

        assert rest.rstrip().endswith("data: [DONE]")
        assert "t149 " in rest
        assert app.end() == 0

    def test_who_never_leaves_does_not_hold_it_up(self, tmp_path: Path) -> None:
        """Idle, half said, reading nothing, or a page that stays open: all are cut."""
        app = App(tmp_path, ORION_GRACE_S="0.3")
        assert app.ready(), app.errors
        idle, half, deaf = (socket.create_connection(("127.0.0.1", app.port)) for _ in range(3))
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        body = json.dumps(LONG).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        deaf.sendall(head.encode() + body)
        page = urllib.request.urlopen(app.url("/gradio_api/heartbeat/page"), timeout=30)
        results = urllib.request.urlopen(
            app.url("/gradio_api/queue/data?session_hash=unknown"), timeout=30
        )
        assert page.readline()
        assert wait_for(lambda: app.running() == 1)

        app.process.terminate()
        began_s = time.monotonic()

        assert app.end() == 0, app.errors
        assert time.monotonic() - began_s < 4.0
        assert "Traceback" not in "".join(app.errors)
        for connection in (idle, half, deaf, page, results):
            connection.close()

    def test_new_requests_are_refused_while_it_stops(self, tmp_path: Path) -> None:
        """Within the grace a new question gets 503 with its code, the probe says why."""
        app = App(tmp_path, ORION_GRACE_S="5")
        assert app.ready(), app.errors
        stream = app.stream()

        app.process.terminate()
        assert wait_for(lambda: app.get("/readyz") is None)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(app.url("/readyz"), timeout=5)
        probe = json.loads(refused.value.read())
        request = urllib.request.Request(
            app.url("/v1/chat/completions"), data=json.dumps({**LONG, "stream": False}).encode()
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status, body, after = answer.status, answer.read(), None
        except urllib.error.HTTPError as error:
            status, body, after = error.code, error.read(), error.headers["Retry-After"]
        event = app.post("/gradio_api/call/chat", {"data": ["hello", "auto", *[None] * 7]})
        with urllib.request.urlopen(
            app.url(f"/gradio_api/call/chat/{event['event_id']}"), timeout=10
        ) as answer:
            said = answer.read().decode()
        stream.close()

        assert (refused.value.code, probe["status"]) == (503, "draining")
        assert refused.value.headers["Retry-After"]
        assert status == 503
        assert int(after or 0) >= 1
        assert "[shutting_down]" in said
        assert json.loads(body)["error"]["code"] == "shutting_down"
        assert app.end() == 0

    def test_a_second_signal_leaves_at_once(self, app: App) -> None:
        """The grace of ten seconds is cut short, and the children still go."""
        stream = app.stream()
        children = app.children()

        app.process.terminate()
        assert wait_for(lambda: "stopping" in "".join(app.errors))
        began_s = time.monotonic()
        app.process.terminate()

        assert app.end() == 128 + signal.SIGTERM
        assert time.monotonic() - began_s < 2.0
        assert wait_for(lambda: all(is_gone(pid) for pid in children), limit_s=2.0)
        assert list(app.temporary.rglob("*")) == []
        stream.close()

    def test_children_go_when_the_app_is_killed(self, app: App) -> None:
        """kill -9 in mid-answer: every worker is gone within two seconds."""
        stream = app.stream()
        children = app.children()
        assert children

        app.process.kill()

        assert wait_for(lambda: all(is_gone(pid) for pid in children), limit_s=2.0)
        stream.close()


class TestStarting:
    def test_a_taken_port_is_one_clear_line(self, app: App, tmp_path: Path) -> None:
        """A second app on the same port ends at once, with the code and a hint."""
        second = App(tmp_path / "second", ORION_PORT=str(app.port))

        assert second.end() == 1
        assert "[port_taken]" in "".join(second.errors)
        assert "Traceback" not in "".join(second.errors)
        assert app.get("/livez") is not None

    def test_a_broken_registry_is_one_clear_line(self, tmp_path: Path) -> None:
        """The JSON path and the reason, exit status 1."""
        broken = tmp_path / "models.json"
        broken.write_text('{"version": 2}', encoding="utf-8")
        app = App(tmp_path, ORION_REGISTRY=str(broken))

        assert app.end() == 1
        line = "".join(app.errors)
        assert "[bad_registry]" in line
        assert "$.version" in line
        assert "Traceback" not in line

    def test_an_address_that_is_not_here_is_said(self, tmp_path: Path) -> None:
        """Not every failure to listen is a taken port."""
        app = App(tmp_path, ORION_HOST="192.0.2.1")

        assert app.end() == 1
        assert "[cannot_listen]" in "".join(app.errors)
        assert "Traceback" not in "".join(app.errors)

    def test_bodies_are_limited_on_every_path(self, tmp_path: Path) -> None:
        """Gradio's own endpoints too; and nobody can leave files here."""
        app = App(tmp_path, ORION_LIMITS__BODY_BYTES="2000")
        assert app.ready(), app.errors

        def status(path: str, body: bytes) -> int:
            kind = {"Content-Type": "application/json"}
            request = urllib.request.Request(app.url(path), data=body, headers=kind)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        assert status("/gradio_api/call/chat", b" " * 3000) == 413
        assert status("/v1/chat/completions", b" " * 3000) == 413
        assert status("/gradio_api/upload", b"x") == 404
        app.process.terminate()
        assert app.end() == 0

    def test_data_of_the_wrong_shape_is_refused_and_not_logged(self, app: App) -> None:
        """A call with too few inputs: a code for the caller, nothing of it in the log."""
        data = {"data": [{"path": "my secret question", "meta": 1}]}
        event = app.post("/gradio_api/call/chat", data)["event_id"]
        with urllib.request.urlopen(app.url(f"/gradio_api/call/chat/{event}"), timeout=20) as said:
            text = said.read().decode()

        assert "invalid_query" in text
        assert "secret" not in "".join(app.errors)
        assert "Traceback" not in "".join(app.errors)

    def test_the_page_and_the_probes_answer(self, app: App) -> None:
        """One port carries the page, the client's description and the probes."""
        with urllib.request.urlopen(app.url("/"), timeout=10) as page:
            assert b"ORION" in page.read()
        assert wait_for(lambda: (app.get("/readyz") or {}).get("ready") is True)
        assert app.get("/v1/models")["object"] == "list"
        with urllib.request.urlopen(app.url("/metrics"), timeout=10) as metrics:
            assert b"orion_requests_running" in metrics.read()

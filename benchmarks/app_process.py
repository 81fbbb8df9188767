"""The product, started as people start it: `python app.py` on a free port."""

from __future__ import annotations

import http.client
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any, Self

from benchmarks.process import Child
from benchmarks.stream_client import Streamed, connect, stream

if TYPE_CHECKING:
    from types import TracebackType

_POLL_S = 0.005
_START_LIMIT_S = 120.0


def free_port() -> int:
    """A loopback port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class AppProcess:
    """The app in a process of its own; leaving the context ends it.

    Args:
        variables: `ORION_*` variables, on top of the caller's environment.
    """

    def __init__(self, **variables: str) -> None:
        self.port = free_port()
        self.token = secrets.token_urlsafe(16)
        environment = {
            "ORION_HOST": "127.0.0.1",
            "ORION_PORT": str(self.port),
            "ORION_ADMIN_TOKEN": self.token,
            **variables,
        }
        self.child = Child("app.py", environment=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.end()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def wait_live_s(self) -> float:
        """Seconds from the start until `/livez` answers 200.

        Raises:
            BenchmarkError: It ended, or does not answer in two minutes.
        """
        self._wait_for("/livez")
        return time.monotonic() - self.child.begun_s

    def wait_ready(self) -> None:
        """Until the preloaded model answers.

        Raises:
            BenchmarkError: It does not within two minutes.
        """
        self._wait_for("/readyz")

    def ask(self, body: dict[str, Any]) -> Streamed:
        """One streamed answer through `/v1`, on a connection opened before the clock starts."""
        connection = connect(self.port)
        try:
            return stream(connection, body)
        finally:
            connection.close()

    def _wait_for(self, path: str) -> None:
        until_s = time.monotonic() + _START_LIMIT_S
        while not self._answers(path):
            if self.child.process.poll() is not None:
                self.child.fail("the app ended while starting")
            if time.monotonic() > until_s:
                self.child.fail(f"{path} does not answer 200")
            time.sleep(_POLL_S)

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

"""A crowd of HTTP clients in one process: each asks once, and once more when it is told when.

`python -m benchmarks.burst_client` reads its task from standard input and writes one line of
JSON. A loop over plain sockets:
what it adds to a latency is the few microseconds that the others of one look take.
"""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from typing import Any

HOST = "127.0.0.1"
_LOOK_EVERY = 8
_ACCEPTED_S = 1.0
_RECEIVE_BYTES = 65_536
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One request as its client saw it. Moments in seconds since the crowd began; 0: never.

    `sent_s` is when its last byte had been written, `first_s` when the first byte of the
    status line came, `broke` why the connection ended before the answer did.
    """

    opened_s: float = 0.0
    sent_s: float = 0.0
    first_s: float = 0.0
    ended_s: float = 0.0
    status: int = 0
    retry_after: str = ""
    code: str = ""
    broke: str = ""


@dataclass(slots=True, kw_only=True)
class Client:
    """One of the crowd: what it sends, and its attempts."""

    number: int
    request: bytes
    attempts: list[Attempt] = field(default_factory=list)
    connection: socket.socket | None = None
    is_connecting: bool = False
    received: bytearray = field(default_factory=bytearray)


def head_of(received: bytes | bytearray) -> tuple[int, dict[str, str]] | None:
    """Status and headers (names in small letters) once the head is there."""
    end = received.find(_END_OF_HEAD)
    if end < 0:
        return None
    lines = bytes(received[:end]).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


def body_of(received: bytes | bytearray) -> bytes | None:
    """The body once all of it is there; answers without a length have none."""
    head = head_of(received)
    if head is None:
        return None
    begin = received.find(_END_OF_HEAD) + len(_END_OF_HEAD)
    length = int(head[1].get("content-length", "0"))
    return bytes(received[begin : begin + length]) if len(received) >= begin + length else None


def request_of(body: dict[str, Any]) -> bytes:
    """The bytes of one chat request."""
    data = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class Crowd:
    """Runs the clients of one burst.

    Args:
        port: Where the app listens.
        bodies: One request per client.
        opened: Whether connections are open before the clock starts.
        obeys: Whether a refused client comes again, once, after its `Retry-After`.
        limit_s: Who has no answer by then hangs.
    """

    def __init__(
        self, port: int, bodies: list[dict[str, Any]], *, opened: bool, obeys: bool, limit_s: float
    ) -> None:
        self.clients = [
            Client(number=number, request=request_of(body)) for number, body in enumerate(bodies)
        ]
        self._port = port
        self._opened = opened
        self._obeys = obeys
        self._limit_s = limit_s
        self._begun_s = 0.0
        self._open = 0
        self._due: list[tuple[float, int]] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> list[list[Attempt]]:
        """Every client's attempts, in order of the bodies."""
        if self._opened:
            for client in self.clients:
                client.connection = socket.create_connection((HOST, self._port))
                client.connection.settimeout(0.0)
            time.sleep(_ACCEPTED_S)  # the kernel answers at once, the server takes its time
        self._begun_s = time.monotonic()
        for number, client in enumerate(self.clients):
            self._ask(client)
            if number % _LOOK_EVERY == 0:
                self._look(0.0)
        while (self._open or self._due) and self._now() < self._limit_s:
            while self._due and self._due[0][0] <= self._now():
                self._ask(self.clients[heappop(self._due)[1]])
            wait_s = self._due[0][0] - self._now() if self._due else 0.1
            self._look(min(0.1, max(0.0, wait_s)))
        return [client.attempts for client in self.clients]

    def _now(self) -> float:
        return time.monotonic() - self._begun_s

    def _ask(self, client: Client) -> None:
        client.attempts.append(Attempt(opened_s=self._now()))
        client.received.clear()
        self._open += 1
        if client.connection is not None:
            self._selector.register(client.connection, selectors.EVENT_READ, client)
            self._send(client)
            return
        client.connection = socket.socket()
        client.connection.settimeout(0.0)
        client.connection.connect_ex((HOST, self._port))
        client.is_connecting = True
        self._selector.register(client.connection, selectors.EVENT_WRITE, client)

    def _send(self, client: Client) -> None:
        assert client.connection
        try:
            client.connection.sendall(client.request)
        except OSError as error:
            self._end(client, broke=repr(error))
            return
        client.attempts[-1].sent_s = self._now()

    def _look(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            client: Client = key.data
            if client.is_connecting:
                client.is_connecting = False
                self._selector.modify(key.fileobj, selectors.EVENT_READ, client)
                self._send(client)
            else:
                self._read(client)

    def _read(self, client: Client) -> None:
        assert client.connection
        attempt = client.attempts[-1]
        try:
            data = client.connection.recv(_RECEIVE_BYTES)
        except OSError as error:
            self._end(client, broke=repr(error))
            return
        attempt.first_s = attempt.first_s or self._now()
        client.received += data
        body = body_of(client.received)
        if body is not None:
            self._end(client, body=body)
        elif not data:
            self._end(client, broke="closed before the answer was whole")

    def _end(self, client: Client, *, body: bytes = b"", broke: str = "") -> None:
        assert client.connection
        attempt = client.attempts[-1]
        attempt.ended_s, attempt.broke = self._now(), broke
        self._open -= 1
        self._selector.unregister(client.connection)
        client.connection.close()
        client.connection = None
        head = head_of(client.received)
        if broke or head is None:
            return
        attempt.status, attempt.retry_after = head[0], head[1].get("retry-after", "")
        if attempt.status != http.client.OK:
            attempt.code = str(json.loads(body)["error"]["code"])
        if self._obeys and attempt.retry_after.isdigit() and len(client.attempts) == 1:
            due_s = attempt.first_s + int(attempt.retry_after)
            heappush(self._due, (due_s, client.number))


def main() -> int:
    """Be the crowd that standard input describes."""
    spec = json.load(sys.stdin)
    crowd = Crowd(
        spec["port"],
        [{**spec["body"], **body} for body in spec["bodies"]],
        opened=spec["opened"],
        obeys=spec["obeys"],
        limit_s=spec["limit_s"],
    )
    print(json.dumps([[asdict(attempt) for attempt in one] for one in crowd.run()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Callers of the app over HTTP that only read: answers, probes, Gradio's endpoints."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
_DATA = b"data: "
_DONE = b"[DONE]"


@dataclass(slots=True, kw_only=True)
class Reply:
    """One answer as its caller saw it. Moments are monotonic; `status` 0: none came.

    `code` is that of the error, in the body or at the end of the stream.
    """

    sent_s: float = 0.0
    first_s: float = 0.0
    ended_s: float = 0.0
    status: int = 0
    code: str = ""
    text: str = ""
    ended: bool = False
    timed_out: bool = False
    broke: str = ""
    request_id: str = ""
    retry_after: str = ""
    orion: dict[str, Any] = field(default_factory=dict)


def body_of(message: str, agent: str, **options: Any) -> dict[str, Any]:
    """A chat request that is streamed."""
    return {
        "model": agent,
        "messages": [{"role": "user", "content": message}],
        "stream": True,
        **options,
    }


def ask(
    port: int, body: dict[str, Any], *, limit_s: float = 60.0, into: Reply | None = None
) -> Reply:
    """Ask and read to the end, whatever it is; never raises for what the server does.

    Args:
        port: Where the app listens.
        body: The request.
        limit_s: The longest silence.
        into: Filled as the answer comes, for those who look on from another thread.
    """
    reply = into or Reply()
    reply.sent_s = time.monotonic()
    connection = http.client.HTTPConnection(HOST, port, timeout=limit_s)
    try:
        connection.request(
            "POST",
            "/v1/chat/completions",
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        reply.status = response.status
        reply.request_id = response.getheader("x-request-id", "")
        reply.retry_after = response.getheader("retry-after", "")
        if response.status == http.client.OK:
            _read_stream(reply, response)
        else:
            _read_error(reply, response.read())
    except TimeoutError:
        reply.timed_out = True
    except (OSError, http.client.HTTPException, ValueError) as error:
        reply.broke = repr(error)
    finally:
        connection.close()
        reply.ended_s = time.monotonic()
    return reply


def _read_stream(reply: Reply, response: http.client.HTTPResponse) -> None:
    while line := response.readline():
        if not line.startswith(_DATA):
            continue
        if line.startswith(_DONE, len(_DATA)):
            reply.ended = True
            continue
        chunk = json.loads(line[len(_DATA) :])
        if "error" in chunk:
            reply.code = str(chunk["error"].get("code"))
        for choice in chunk.get("choices", ()):
            text = choice["delta"].get("content")
            if text:
                reply.first_s = reply.first_s or time.monotonic()
                reply.text += text
        reply.orion = chunk.get("orion") or reply.orion


def _read_error(reply: Reply, data: bytes) -> None:
    try:
        reply.code = str(json.loads(data)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        reply.code = ""
        reply.broke = repr(data[:200])


def open_stream(port: int, body: dict[str, Any]) -> socket.socket:
    """A connection over which the request has gone out, and nothing has been read."""
    data = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection((HOST, port), timeout=30.0)
    connection.sendall(head.encode() + data)
    return connection


def get(port: int, path: str, *, limit_s: float = 5.0) -> tuple[int, Any]:
    """Status and JSON (None where there is none) of a path; status 0: no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=limit_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data.startswith(b"{") else None
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None
    finally:
        connection.close()


def call(port: int, name: str, *arguments: Any) -> Any:
    """What a Gradio endpoint returns.

    Raises:
        OSError: It could not be asked, or it failed.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=30.0)
    try:
        connection.request(
            "POST",
            f"/gradio_api/run/{name}",
            body=json.dumps({"data": arguments}).encode(),
            headers={"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            reason = f"/{name} answered {response.status}: {data[:200]!r}"
            raise OSError(reason)
        return json.loads(data)["data"][0]
    finally:
        connection.close()

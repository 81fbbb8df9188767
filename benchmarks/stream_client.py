"""A client of `/v1/chat/completions` that does nothing but read and look at the clock."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.process import BenchmarkError

if TYPE_CHECKING:
    from http.client import HTTPConnection

LIMIT_S = 120.0
_DATA = b"data: "
_DONE = b"[DONE]"


@dataclass(slots=True, kw_only=True)
class Streamed:
    """One answer as a client saw it. Times in seconds; moments are monotonic."""

    sent_s: float
    first_s: float = 0.0
    last_s: float = 0.0
    text: str = ""
    deltas: int = 0
    finish_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    orion: dict[str, Any] = field(default_factory=dict)

    @property
    def ttft_s(self) -> float:
        """Request sent → first text."""
        return self.first_s - self.sent_s

    @property
    def tokens(self) -> int:
        """Tokens of the answer, as the server counts them."""
        return int(self.usage["completion_tokens"])

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return int(self.usage["prompt_tokens"])

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that the KV cache held."""
        return int(self.usage["prompt_tokens_details"]["cached_tokens"])

    @property
    def tokens_per_s(self) -> float:
        """Tokens after the first, by the time from first text to last text."""
        return (self.tokens - 1) / (self.last_s - self.first_s)


def connect(port: int) -> HTTPConnection:
    """An open connection to a loopback port.

    Raises:
        OSError: Nobody listens.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    connection.connect()
    return connection


def stream(connection: HTTPConnection, body: dict[str, Any]) -> Streamed:
    """Post one request and read its stream to the end.

    Raises:
        BenchmarkError: The server refused it, or the stream ended early.
    """
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    data = json.dumps(asked).encode()
    made = Streamed(sent_s=time.monotonic())
    connection.request(
        "POST", "/v1/chat/completions", body=data, headers={"Content-Type": "application/json"}
    )
    response = connection.getresponse()
    if response.status != http.client.OK:
        reason = f"/v1 answered {response.status}: {response.read(500)!r}"
        raise BenchmarkError(reason)
    while line := response.readline():
        if not line.startswith(_DATA):
            continue
        if line.startswith(_DONE, len(_DATA)):
            response.read()
            return made
        _take(made, json.loads(line[len(_DATA) :]), time.monotonic())
    msg = "the stream of /v1 ended early"
    raise BenchmarkError(msg)


def _take(made: Streamed, chunk: dict[str, Any], now_s: float) -> None:
    if "error" in chunk:
        reason = f"/v1 failed: {chunk['error']}"
        raise BenchmarkError(reason)
    for choice in chunk["choices"]:
        text = choice["delta"].get("content")
        if text:
            made.first_s = made.first_s or now_s
            made.last_s = now_s
            made.text += text
            made.deltas += 1
        made.finish_reason = choice["finish_reason"] or made.finish_reason
    made.usage = chunk.get("usage") or made.usage
    made.orion = chunk.get("orion") or made.orion

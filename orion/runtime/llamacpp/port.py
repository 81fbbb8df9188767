"""The loopback port of the in-process server: what xllamacpp offers nowhere else."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

from orion.errors import GenerationError

_LIMIT_S = 30.0


class ServerPort:
    """Posts JSON, over connections that are used again. Thread-safe.

    The port is guarded by a key of 256 bits.
    """

    def __init__(self, address: str, key: str) -> None:
        self._netloc = urlsplit(address).netloc
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """The answer to `content`.

        Raises:
            GenerationError: The server refuses it, or does not answer.
        """
        body = json.dumps(content).encode()
        try:
            try:
                status, answer = self._post(path, body, self._idle_connection())
            except (ConnectionError, http.client.HTTPException):
                # The idle connection had been closed: once more, over a fresh one.
                status, answer = self._post(path, body, self._connection())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise GenerationError(reason="the llama.cpp server does not answer") from error
        if status != http.client.OK:
            raise GenerationError(reason=f"the llama.cpp server refuses {path} ({status})")
        return answer

    def _post(
        self, path: str, body: bytes, connection: http.client.HTTPConnection
    ) -> tuple[int, dict[str, Any]]:
        connection.request("POST", path, body=body, headers=self._headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        with self._lock:
            self._idle.append(connection)
        return response.status, answer

    def _idle_connection(self) -> http.client.HTTPConnection:
        with self._lock:
            return self._idle.pop() if self._idle else self._connection()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._netloc, timeout=_LIMIT_S)


class LlamaTokenizer:
    """The loaded model's own tokenizer, asked over the server's `port`."""

    def __init__(self, address: str, key: str, control_ids: frozenset[int]) -> None:
        self.port = ServerPort(address, key)
        self._control_ids = control_ids

    @property
    def control_ids(self) -> frozenset[int]:
        """Every token that is not plain text."""
        return self._control_ids

    def encode_control(self, text: str) -> list[int]:
        """Token ids of template text: control tokens are recognised."""
        return self._encode(text, parse_special=True)

    def encode_content(self, text: str) -> list[int]:
        """Token ids of what people wrote: never a control token."""
        return self._encode(text, parse_special=False)

    def _encode(self, text: str, *, parse_special: bool) -> list[int]:
        content = {"content": text, "add_special": False, "parse_special": parse_special}
        return [int(token) for token in self.port.post("/tokenize", content)["tokens"]]

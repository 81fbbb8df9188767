"""A client that speaks ASGI to an application in the same thread: no socket, full control."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette

from orion.api import HttpApi


@dataclass
class Reply:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json()["error"]
        return found

    def chunks(self) -> list[Any]:
        """The `data:` values of an event stream; `[DONE]` stays a string."""
        lines = [line for line in self.body.decode().split("\n\n") if line]
        assert all(line.startswith("data: ") for line in lines)
        values = [line.removeprefix("data: ") for line in lines]
        return [value if value == "[DONE]" else json.loads(value) for value in values]


class AsgiClient:
    """Calls `application`; `parts_read` counts the body parts it took."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.parts_read = 0

    def __call__(self, method: str, path: str, **options: Any) -> Reply:
        return asyncio.run(self.exchange(method, path, **options))

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] = b"",
        headers: dict[str, str] | None = None,
        on_part: Callable[[bytes], None] | None = None,
        gone: asyncio.Event | None = None,
        cut_body: bool = False,
        hang: bool = False,
        reads: asyncio.Event | None = None,
    ) -> Reply:
        """One exchange. Setting `gone` is the client leaving.

        With `cut_body` it leaves within its body, with `hang` it falls silent there. Of
        the answer's body it takes nothing before `reads` is set.
        """
        reply = Reply()
        parts = [body] if isinstance(body, bytes) else list(body)
        gone = gone or asyncio.Event()

        async def receive() -> dict[str, Any]:
            if parts:
                part = parts.pop(0)
                self.parts_read += 1
                more = bool(parts) or cut_body or hang
                return {"type": "http.request", "body": part, "more_body": more}
            if not cut_body:
                await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {k.decode(): v.decode() for k, v in message["headers"]}
                return
            if reads is not None:
                await reads.wait()
            reply.parts.append(message["body"])
            reply.complete = not message.get("more_body", False)
            if on_part is not None:
                on_part(message["body"])

        await self.application(_scope(method, path, headers or {}), receive, send)
        return reply


def client_of(engine: Any) -> AsgiClient:
    """A client of the API over `engine`."""
    api = HttpApi(engine)
    return AsgiClient(Starlette(routes=api.routes(), middleware=api.middleware()))


def _scope(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1234),
        "server": ("127.0.0.1", 7860),
        "state": {},
    }


def post_chat(client: AsgiClient, value: Any, **options: Any) -> Reply:
    """POST `value` as JSON to the chat endpoint."""
    return client("POST", "/v1/chat/completions", **chat_body(value), **options)


def chat_body(value: Any) -> dict[str, Any]:
    body = json.dumps(value).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return {"body": body, "headers": headers}


ASK = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}

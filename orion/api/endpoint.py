"""One path as an ASGI application: methods, request ids and one shape of error."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from orion.api.wire import Problem, dumps, problem_of
from orion.errors import OrionError
from orion.types import new_request_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import Message, Receive, Scope, Send

    from orion.logs import Log

    Handler = Callable[["Exchange"], Awaitable[None]]


JSON = "application/json"
LINGER_S = 2.0
LINGER_BYTES = 64 * 1024 * 1024


class Exchange:
    """One request and its answer, on the event loop."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.request_id = new_request_id()
        self.headers = Headers(scope=scope)
        self.body_read = False
        self.started = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """The next ASGI message of the client; notes the end of the body."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.body_read = True
        return message

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status line and the headers; from here on errors travel in the body."""
        named = {"x-request-id": self.request_id, "x-content-type-options": "nosniff", **headers}
        self.started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in named.items()
                ],
            }
        )

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body; the last one with `more=False`."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def respond(
        self,
        body: bytes,
        *,
        status: int = HTTPStatus.OK,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole answer."""
        length = {"content-type": media_type, "content-length": str(len(body))}
        await self.start(status, {**length, "cache-control": "no-store", **(headers or {})})
        if not self.body_read and self._has_body():
            # Closing on unread bytes resets the connection and may lose the answer.
            await self.write(body, more=True)
            await self._discard_body()
            body = b""
        await self.write(body, more=False)

    async def refuse(self, problem: Problem, *, headers: Mapping[str, str] | None = None) -> None:
        """Send an error in the protocol's shape."""
        body: dict[str, Any] = {"error": problem.as_dict()}
        if problem.partial_text:
            body["orion"] = {"partial": True, "text": problem.partial_text}
        named = {**problem.headers, **(headers or {})}
        await self.respond(dumps(body), status=problem.status, headers=named)

    def _has_body(self) -> bool:
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"

    async def _discard_body(self) -> None:
        discarded = 0
        try:
            async with asyncio.timeout(LINGER_S):
                while discarded < LINGER_BYTES:
                    message = await self.receive()
                    discarded += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return


class Endpoint:
    """Calls the handler of the method; `GET` also answers `HEAD`.

    An instance, not a function, is what keeps Starlette from answering a wrong method
    itself, in a shape of its own.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        otherwise: Handler | None = None,
        log: Log | None = None,
    ) -> None:
        self._log: Log = log or structlog.get_logger("orion.api")
        self._handlers = dict(handlers)
        self._otherwise = otherwise or self._refuse_method
        if "GET" in self._handlers:
            self._handlers.setdefault("HEAD", self._handlers["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry: one exchange; every `OrionError` becomes its status."""
        exchange = Exchange(scope, receive, send)
        handler = self._handlers.get(scope["method"], self._otherwise)
        try:
            await handler(exchange)
        except ClientDisconnect:
            return
        except OrionError as error:
            if exchange.started:
                raise
            await exchange.refuse(problem_of(error))
        except Exception as error:
            self._log.error("request_broke", request_id=exchange.request_id, exc_info=error)
            if exchange.started:
                raise
            await exchange.refuse(problem_of(OrionError()))

    async def _refuse_method(self, exchange: Exchange) -> None:
        allowed = ", ".join(sorted(self._handlers))
        problem = Problem(
            status=HTTPStatus.METHOD_NOT_ALLOWED,
            code="method_not_allowed",
            message=f"This path answers {allowed}, not {exchange.scope['method'][:20]}.",
        )
        await exchange.refuse(problem, headers={"allow": allowed})


async def refuse_path(exchange: Exchange) -> None:
    """The answer to every path under `/v1` that is none."""
    problem = Problem(
        status=HTTPStatus.NOT_FOUND,
        code="not_found",
        message="There is no such path. See /v1/models and /v1/chat/completions.",
    )
    await exchange.refuse(problem)

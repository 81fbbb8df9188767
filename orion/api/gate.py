"""What stands before every path of the port: a limit on bodies, and paths that are closed."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from orion.api.wire import Problem, dumps, problem_of
from orion.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


NOTHING = Problem(status=HTTPStatus.NOT_FOUND, code="not_found", message="There is nothing here.")


class BodyGate:
    """ASGI middleware: bodies over `limit` bytes get 413, paths below `closed` get 404.

    A declared length is refused at once; an undeclared one is counted as it comes, and
    the application behind sees the client leave.
    """

    def __init__(self, app: ASGIApp, *, limit: int, closed: Sequence[str] = ()) -> None:
        self._app = app
        self._limit = limit
        self._closed = tuple(closed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._closed and scope["path"].startswith(self._closed):
            await _answer(send, HTTPStatus.NOT_FOUND, dumps({"error": NOTHING.as_dict()}))
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._limit:
            await self._refuse(send, int(declared))
            return
        counted = _Counted(receive, send, self._limit)
        await self._app(scope, counted.receive, counted.send)
        if counted.is_over() and not counted.has_answered:
            await self._refuse(send, counted.size)

    async def _refuse(self, send: Send, size: int) -> None:
        error = TooLargeError(field="body", size=size, limit=self._limit, unit="bytes")
        await _answer(send, error.status, dumps({"error": problem_of(error).as_dict()}))


class _Counted:
    """The two channels of one exchange, with the body's bytes counted."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self.size = 0
        self.has_answered = False

    def is_over(self) -> bool:
        """Whether more came than is taken."""
        return self.size > self._limit

    async def receive(self) -> Message:
        """The next message; a disconnect once the limit is passed."""
        if self.is_over():
            return {"type": "http.disconnect"}
        message = await self._receive()
        self.size += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self.is_over() else message

    async def send(self, message: Message) -> None:
        """Hand on what the application says, unless it speaks of a body it never saw whole."""
        if self.is_over() and not self.has_answered:
            return
        self.has_answered = True
        await self._send(message)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

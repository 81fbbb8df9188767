"""What stands before the chat path: requests that cannot be let in are refused unparsed.

A full system must not spend on refusals what it lacks for answers: a refusal here costs a
look at the body and one answer, no thread and no place in any queue.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

from orion.api.body import OFF_LOOP_BYTES, READ_LIMIT_S
from orion.api.client import client_of
from orion.api.wire import dumps, problem_of
from orion.types import new_request_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from orion.api.bridge import EventBridge
    from orion.errors import OrionError

CHAT_PATH = "/v1/chat/completions"
LOOKS_PER_S = 50.0
LOOKS_AT_ONCE = 16
_KEPT = 256


class Looks:
    """How many requests may still be looked at while the system is full: a rate with a reserve."""

    def __init__(
        self,
        *,
        per_s: float = LOOKS_PER_S,
        at_once: int = LOOKS_AT_ONCE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._now = now
        self._left = float(at_once)
        self._since_s = now()

    def take(self) -> bool:
        """One look, if there is one left."""
        now_s = self._now()
        self._left = min(self._at_once, self._left + (now_s - self._since_s) * self._per_s)
        self._since_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class ChatDoor:
    """ASGI middleware: a chat request passes, or hears at once why it cannot.

    While the system is full, requests whose answer may be known or under way already need no
    place in it: those equal to one that is inside pass, and of the others a few a second.
    """

    def __init__(self, app: ASGIApp, *, bridge: EventBridge, looks: Looks | None = None) -> None:
        self._app = app
        self._bridge = bridge
        self._looks = looks or Looks()
        self._refusals = Refusals()
        self._inside: Counter[bytes] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http" or not _is_chat(scope):
            await self._app(scope, receive, send)
            return
        first = await _first_message(receive) if _is_small(scope) else None
        if first is None:
            await self._app(scope, receive, send)
            return
        data = first.get("body", b"")
        body = _peek(first)
        known = body is not None and _may_be_known(body)
        error = self._bridge.refusal(client_of(body or {}, scope))
        if error is not None and body is not None and not (known and self._passes(data)):
            self._bridge.turned_away(error)
            await self._refusals.send(send, error)
            return
        await self._bridge.let_others_by()
        self._inside[data] += known
        try:
            await self._app(scope, _replayed(first, receive), send)
        finally:
            if known:
                self._inside[data] -= 1
                if not self._inside[data]:
                    del self._inside[data]

    def _passes(self, data: bytes) -> bool:
        if not self._bridge.has_place:
            return False
        return data in self._inside or self._looks.take()


def _is_chat(scope: Scope) -> bool:
    return scope["method"] == "POST" and str(scope["path"]).endswith(CHAT_PATH)


def _is_small(scope: Scope) -> bool:
    length = dict(scope["headers"]).get(b"content-length", b"")
    return length.isdigit() and int(length[:19]) < OFF_LOOP_BYTES


async def _first_message(receive: Receive) -> Message | None:
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            return await receive()
    except TimeoutError:
        return None


def _peek(first: Message) -> dict[str, Any] | None:
    """The body, unchecked, if it is here whole; what it is worth is seen later."""
    if first["type"] != "http.request" or first.get("more_body"):
        return None
    try:
        body = json.loads(first.get("body", b""))
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _may_be_known(body: dict[str, Any]) -> bool:
    """Whether the answer cache might have it: only what is asked for deterministically."""
    return body.get("temperature") == 0 or body.get("seed") is not None


def _replayed(first: Message, receive: Receive) -> Receive:
    """`receive` as it was before `first` was taken."""
    waiting = [first]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


class Refusals:
    """Refusals as ASGI messages. In a crowd many are equal: those are written once."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], tuple[int, list[tuple[bytes, bytes]], bytes]] = {}
        # No random number for each: that is a call into the kernel.
        prefix = new_request_id()[:24].encode()
        self._ids = (prefix + b"%08x" % number for number in count())

    async def send(self, send: Send, error: OrionError) -> None:
        """Answer with `error` in the protocol's shape."""
        wait_s = error.facts.get("retry_after_s")
        if wait_s is not None:  # what the message says is what the header says
            error.facts["retry_after_s"] = max(1, math.ceil(wait_s))
        key = (error.code, *error.facts.values())
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _KEPT:
                self._made.clear()
            made = self._made[key] = _written(error)
        status, headers, body = made
        named = [*headers, (b"x-request-id", next(self._ids))]
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": body})


def _written(error: OrionError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    problem = problem_of(error)
    body = dumps({"error": problem.as_dict()})
    named = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        **problem.headers,
    }
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    return problem.status, headers, body

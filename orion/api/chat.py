"""`POST /v1/chat/completions`: one engine stream, whole or as server-sent events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from orion.api.body import read_object
from orion.api.chat_request import read_chat_request
from orion.api.client import client_of
from orion.api.wire import ChunkWriter, completion, error_chunk
from orion.errors import CancelledError
from orion.types import ErrorEvent, FinishReason

if TYPE_CHECKING:
    from starlette.types import Receive

    from orion.api.bridge import Batch, EventBridge, EventFeed
    from orion.api.chat_request import ChatRequest
    from orion.api.endpoint import Exchange
    from orion.types import Answer, FinalEvent

EVENT_STREAM = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


class ChatCompletions:
    """Answers chat requests. Nothing is sent before the first text or the end is there.

    So an error that comes first is a real HTTP status, however long the queue was.
    """

    def __init__(self, bridge: EventBridge, *, body_bytes: int) -> None:
        self._bridge = bridge
        self._body_bytes = body_bytes

    async def post(self, exchange: Exchange) -> None:
        """Answer one request.

        Raises:
            OrionError: Before anything was sent.
            ClientDisconnect: The client left; its stream is being closed.
        """
        body = await read_object(exchange.receive, exchange.headers, limit_bytes=self._body_bytes)
        asked = read_chat_request(body, client=client_of(body, exchange.scope))
        created = int(datetime.now(UTC).timestamp())
        feed = self._bridge.open(request_id=exchange.request_id, **asked.arguments)
        watcher = asyncio.create_task(_abandon_when_gone(exchange.receive, feed))
        try:
            if asked.stream:
                await _stream(exchange, feed, asked, created)
            else:
                answer = await _whole(feed, asked)
                await exchange.respond(completion(answer, created=created))
        finally:
            feed.abandon()
            watcher.cancel()


async def _abandon_when_gone(receive: Receive, feed: EventFeed) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    feed.abandon()


async def _whole(feed: EventFeed, asked: ChatRequest) -> Answer:
    end = None
    while end is None:
        end = (await feed.batch()).end
    return _answer(end, asked)


def _answer(end: FinalEvent | ErrorEvent, asked: ChatRequest) -> Answer:
    """The answer, while a failure can still be told by a status."""
    if isinstance(end, ErrorEvent):
        error = asked.as_sent(end.error)
        error.partial_text = end.text
        raise error
    if end.answer.finish_reason is FinishReason.CANCELLED:
        raise CancelledError
    return end.answer


async def _stream(exchange: Exchange, feed: EventFeed, asked: ChatRequest, created: int) -> None:
    batch = await feed.batch()
    if batch.end is not None and not batch.text:
        _answer(batch.end, asked)
    chunks = ChunkWriter(
        request_id=exchange.request_id,
        model=_model(feed, batch, asked),
        created=created,
        include_usage=asked.include_usage,
    )
    await exchange.start(HTTPStatus.OK, EVENT_STREAM)
    data = chunks.first(batch.text)
    while batch.end is None:
        await exchange.write(data)
        batch = await feed.batch()
        data = chunks.text(batch.text) if batch.text else b""
    end = batch.end
    data += error_chunk(end) if isinstance(end, ErrorEvent) else chunks.end(end.answer)
    await exchange.write(data, more=False)


def _model(feed: EventFeed, batch: Batch, asked: ChatRequest) -> str:
    if batch.end is not None and not isinstance(batch.end, ErrorEvent):
        return batch.end.answer.model
    return feed.model or asked.model

"""`/livez`, `/readyz`, `/metrics`: what a supervisor and a Prometheus server read."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from orion.api.wire import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.api.endpoint import Exchange
    from orion.api.seam import ServedEngine

ALIVE = b'{"status":"alive"}'
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
ANSWER_LIMIT_S = 2.0
RETRY_AFTER = {"retry-after": "1"}


class Probes:
    """Looks at the engine from threads of its own, so that no probe waits for a stream."""

    def __init__(self, engine: ServedEngine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="orion-probe")

    async def livez(self, exchange: Exchange) -> None:
        """The event loop turns; nothing else is asked."""
        await exchange.respond(ALIVE)

    async def readyz(self, exchange: Exchange) -> None:
        """200 when a question would be taken now, else 503 with the reasons."""
        try:
            health = await self._ask(self._engine.health)
        except TimeoutError:
            reason = f"the engine has not answered within {ANSWER_LIMIT_S:g} s"
            health = {"status": "down", "ready": False, "reasons": [reason]}
        if health.get("ready"):
            await exchange.respond(dumps(health))
        else:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            await exchange.respond(dumps(health), status=status, headers=RETRY_AFTER)

    async def metrics(self, exchange: Exchange) -> None:
        """The counters as Prometheus text."""
        text = await self._ask(self._engine.metrics.render)
        await exchange.respond(text, media_type=EXPOSITION)

    async def _ask(self, question: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(ANSWER_LIMIT_S):
            return await loop.run_in_executor(self._threads, question)

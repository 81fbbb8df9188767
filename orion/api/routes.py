"""The HTTP API as a whole, ready to be handed to the application that serves the page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.routing import Route

from orion.api.bridge import EventBridge
from orion.api.catalog import ModelCatalog
from orion.api.chat import ChatCompletions
from orion.api.door import CHAT_PATH, ChatDoor
from orion.api.endpoint import Endpoint, refuse_path
from orion.api.gate import BodyGate
from orion.api.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orion.api.seam import ServedEngine

SPARE_STREAMS = 128
"""Streams beyond what the engine has places for: of answers known or under way already."""


class HttpApi:
    """`/v1`, `/livez`, `/readyz` and `/metrics` over `engine`: routes, and what stands before them.

    They serve on one event loop at a time; the engine outlives them.
    """

    def __init__(self, engine: ServedEngine) -> None:
        settings = engine.settings
        self._engine = engine
        self._bridge = EventBridge(
            engine,
            room=settings.queue_max + settings.workers * settings.worker.slots,
            spare=SPARE_STREAMS,
        )

    def routes(self) -> list[Route]:
        """Ready to be handed to the application that serves the page."""
        engine = self._engine
        chat = ChatCompletions(self._bridge, body_bytes=engine.settings.limits.body_bytes)
        catalog = ModelCatalog(lambda: engine.registry)
        probes = Probes(engine)
        endpoint = partial(Endpoint, log=engine.log)
        table = {
            CHAT_PATH: endpoint({"POST": chat.post}),
            "/v1/models": endpoint({"GET": catalog.list}),
            "/v1/models/{name:path}": endpoint({"GET": catalog.retrieve}),
            "/v1": endpoint({}, otherwise=refuse_path),
            "/v1/{rest:path}": endpoint({}, otherwise=refuse_path),
            "/livez": endpoint({"GET": probes.livez}),
            "/readyz": endpoint({"GET": probes.readyz}),
            "/metrics": endpoint({"GET": probes.metrics}),
        }
        # Starlette names a route after its endpoint's class, which all of these share.
        return [
            Route(path, handler, name=f"orion:{path}", include_in_schema=False)
            for path, handler in table.items()
        ]

    def middleware(self, *, closed: Sequence[str] = ()) -> list[Middleware]:
        """The door of the chat path, then the limits of every path; `closed` ones are not there."""
        limit = self._engine.settings.limits.body_bytes
        return [
            Middleware(ChatDoor, bridge=self._bridge),
            Middleware(BodyGate, limit=limit, closed=closed),
        ]

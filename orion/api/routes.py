"""The routes of the HTTP API, ready to be handed to the application that serves the page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import Route

from orion.api.bridge import EventBridge
from orion.api.catalog import ModelCatalog
from orion.api.chat import ChatCompletions
from orion.api.endpoint import Endpoint, refuse_path
from orion.api.probes import Probes

if TYPE_CHECKING:
    from orion.api.seam import ServedEngine

SPARE_STREAMS = 4
"""Streams beyond what the engine admits: its own refusal is the better answer."""


def routes(engine: ServedEngine) -> list[Route]:
    """`/v1`, `/livez`, `/readyz` and `/metrics` over `engine`.

    They serve on one event loop at a time; the engine outlives them.
    """
    settings = engine.settings
    slots = settings.workers * settings.worker.slots
    bridge = EventBridge(engine, capacity=settings.queue_max + slots + SPARE_STREAMS)
    chat = ChatCompletions(bridge, body_bytes=settings.limits.body_bytes)
    catalog = ModelCatalog(engine.registry)
    probes = Probes(engine)
    endpoint = partial(Endpoint, log=engine.log)
    table = {
        "/v1/chat/completions": endpoint({"POST": chat.post}),
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

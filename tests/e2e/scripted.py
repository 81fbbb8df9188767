"""A scripted engine for the page: every method of `orion.engine.Engine`, no model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orion.errors import OrionError, UnknownAgentError
from orion.registry import load_registry
from orion.settings import PACKAGE_ROOT
from orion.types import (
    Event,
    FinishReason,
    ProgressEvent,
    RequestState,
    Route,
    RouteEvent,
    StateEvent,
)
from tests.fakes.engine import Call, Script, ScriptedEngine, delta, final, route_of


class PageEngine(ScriptedEngine):
    """`ScriptedEngine` with what the page and the endpoints use besides `stream`."""

    def __init__(self, script: Script | None = None, **settings: Any) -> None:
        super().__init__(script, **settings)
        self.registry = load_registry(Path(PACKAGE_ROOT) / "models.json")
        self.cancelled: list[str] = []
        self.cancel_asked = threading.Event()
        self.loaded: list[str] = []

    def cancel(self, request_id: str) -> bool:
        self.cancelled.append(request_id)
        self.cancel_asked.set()
        return any(call.request_id == request_id for call in self.calls)

    def route(self, text: Any, history: Any = None) -> Route:
        return route_of("code-agent")

    def agents(self) -> list[dict[str, Any]]:
        return [{"id": agent_id} for agent_id in self.registry.agents]

    def stats(self) -> dict[str, Any]:
        worker = {"model": "smollm2-135m-instruct", "state": "ready", "num_tokens": 0}
        return {"workers": [worker], "queue": {"waiting": 0, "max": 16}}

    def load(self, name: str) -> dict[str, Any]:
        if name not in self.registry.agents:
            raise UnknownAgentError(name=name, known=", ".join(self.registry.agents))
        self.loaded.append(name)
        return {"model": name, "resident": True}

    def unload(self, name: str) -> dict[str, Any]:
        return {"model": name, "unloaded": True}


def whole_walk(text: str) -> Script:
    """Every state of a cold request, with the progress of a load, then `text`."""

    def script(call: Call) -> Iterator[Event]:
        request_id = call.request_id
        yield StateEvent(request_id=request_id, state=RequestState.VALIDATING, elapsed_s=0.0)
        yield StateEvent(request_id=request_id, state=RequestState.ROUTING, elapsed_s=0.001)
        yield RouteEvent(request_id=request_id, route=route_of("code-agent"), model="tiny")
        yield StateEvent(request_id=request_id, state=RequestState.LOADING_AGENT, elapsed_s=0.002)
        yield ProgressEvent(request_id=request_id, phase="loading_shard", elapsed_s=0.5, ratio=0.4)
        yield StateEvent(request_id=request_id, state=RequestState.INFERENCING, elapsed_s=0.6)
        yield delta(call, text)
        yield StateEvent(request_id=request_id, state=RequestState.SUCCESS, elapsed_s=1.0)
        yield final(call, text)

    return script


class UntilCancelled:
    """Words until `cancel` is called for the request, then the end a cancel has."""

    def __init__(self, engine: PageEngine) -> None:
        self.engine = engine
        self.num_tokens = 0

    def __call__(self, call: Call) -> Iterator[Event]:
        request_id = call.request_id
        yield StateEvent(request_id=request_id, state=RequestState.INFERENCING, elapsed_s=0.0)
        text = ""
        while not self.engine.cancel_asked.wait(0.03):
            self.num_tokens += 1
            text += f"word{self.num_tokens} "
            yield delta(call, f"word{self.num_tokens} ")
        yield StateEvent(request_id=request_id, state=RequestState.CANCELLED, elapsed_s=1.0)
        yield final(call, text, FinishReason.CANCELLED)


class Stumbling:
    """Fails with `error` after `text`."""

    def __init__(self, error: OrionError) -> None:
        self.error = error

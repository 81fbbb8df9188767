"""`/v1/models`: everything `model` may name, in OpenAI's shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orion.api.wire import dumps
from orion.errors import UnknownAgentError
from orion.registry import HubSource, WheelSource
from orion.types import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.api.endpoint import Exchange
    from orion.registry import Agent, Model, Registry

OWNER = "orion"


class ModelCatalog:
    """The list and its entries, made once for each registry: it is replaced as a whole."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry
        self._created = int(datetime.now(UTC).timestamp())
        self._made: tuple[Registry, dict[str, dict[str, Any]], bytes] | None = None

    def _current(self) -> tuple[dict[str, dict[str, Any]], bytes]:
        registry = self._registry()
        if self._made is None or self._made[0] is not registry:
            entries = _entries(registry, self._created)
            body = dumps({"object": "list", "data": list(entries.values())})
            self._made = (registry, entries, body)
        return self._made[1:]

    async def list(self, exchange: Exchange) -> None:
        """Answer with all of them."""
        await exchange.respond(self._current()[1])

    async def retrieve(self, exchange: Exchange) -> None:
        """Answer with one.

        Raises:
            UnknownAgentError: There is none of that name.
        """
        name = exchange.scope["path_params"]["name"]
        entries, _ = self._current()
        entry = entries.get(name)
        if entry is None:
            raise UnknownAgentError(name=name[:80], known=", ".join(entries))
        await exchange.respond(dumps(entry))


def _entries(registry: Registry, created: int) -> dict[str, dict[str, Any]]:
    found = {AUTO: _entry(AUTO, created, OWNER, {"kind": "router"})}
    for agent_id, agent in registry.agents.items():
        found[agent_id] = _entry(agent_id, created, OWNER, _agent_facts(agent))
    for model_id, model in registry.models.items():
        found[model_id] = _entry(model_id, created, _publisher(model), _model_facts(model))
    return found


def _entry(name: str, created: int, owned_by: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": owned_by,
        "orion": facts,
    }


def _agent_facts(agent: Agent) -> dict[str, Any]:
    return {
        "kind": "agent",
        "model": agent.model,
        "name": agent.name.model_dump(),
        "description": agent.description.model_dump(),
        "capabilities": list(agent.capabilities),
    }


def _model_facts(model: Model) -> dict[str, Any]:
    return {
        "kind": "model",
        "name": model.name,
        "servable": any(variant.status != "unpinned" for variant in model.variants),
        "parameters": model.parameters,
        "context_tokens": model.context_tokens,
        "languages": list(model.languages),
        "licence": model.licence,
        "runtimes": sorted({str(variant.runtime) for variant in model.variants}),
    }


def _publisher(model: Model) -> str:
    """The account or the distribution the weights come from."""
    for variant in model.variants:
        if isinstance(variant.source, HubSource):
            return variant.source.repo.partition("/")[0]
        if isinstance(variant.source, WheelSource):
            return variant.source.distribution
    return OWNER

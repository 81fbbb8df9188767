"""References between entries: what leads nowhere, and names that are taken twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.types import AUTO

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from orion.registry.entries import Agent, Model, RegistryDocument

Problem = tuple[str, str]
"""A JSON path and the reason."""


def broken_references(document: RegistryDocument) -> Iterator[Problem]:
    """Every problem between the entries of a document whose shape is right."""
    yield from _names(document)
    for agent_id, agent in document.agents.items():
        yield from _agent(f"$.agents.{agent_id}", agent_id, agent, document)
    yield from _lists(document)


def _lists(document: RegistryDocument) -> Iterator[Problem]:
    models = document.all_models
    for group, members in document.model_groups.items():
        for index, member in enumerate(members):
            if member not in models:
                yield f"$.model_groups.{group}[{index}]", f"there is no model {member!r}"
    for profile, choices in document.recommendations.items():
        for agent_id, model_id in choices.items():
            path = f"$.recommendations.{profile}.{agent_id}"
            if agent_id not in document.agents:
                yield path, f"there is no agent {agent_id!r}"
            if model_id not in models:
                yield path, f"there is no model {model_id!r}"


def _names(document: RegistryDocument) -> Iterator[Problem]:
    """Agents and models share one namespace, with the word for "let the router choose"."""
    for model_id in document.custom_models:
        if model_id in document.models:
            yield f"$.custom_models.{model_id}", "has the name of a built-in model"
    models = document.all_models
    for agent_id in document.agents:
        if agent_id in models:
            yield f"$.agents.{agent_id}", "has the name of a model"
    tables: dict[str, Collection[str]] = {
        "models": document.models,
        "custom_models": document.custom_models,
        "agents": document.agents,
    }
    for table, names in tables.items():
        if AUTO in names:
            yield f"$.{table}.{AUTO}", "this name asks the router to choose"


def _agent(path: str, agent_id: str, agent: Agent, document: RegistryDocument) -> Iterator[Problem]:
    models: Mapping[str, Model] = document.all_models
    if agent.model not in models:
        yield f"{path}.model", f"there is no model {agent.model!r}"
    elif not models[agent.model].is_servable:
        yield f"{path}.model", f"{agent.model!r} is unpinned: it cannot be served"
    for index, other in enumerate(agent.fallback):
        if other not in document.agents or other == agent_id:
            yield f"{path}.fallback[{index}]", f"{other!r} is no other agent"
        elif other in agent.fallback[:index]:
            yield f"{path}.fallback[{index}]", f"{other!r} stands twice"

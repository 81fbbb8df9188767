"""`models.json` read, checked and asked questions. Refused as a whole or right as a whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orion.errors import RegistryError, UnknownAgentError
from orion.registry.entries import RegistryDocument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orion.registry.entries import Agent, Model, Variant

CONVERSATION_AGENT = "conversation-agent"
AGENT_IDS = (
    CONVERSATION_AGENT,
    "code-agent",
    "reasoning-agent",
    "creative-agent",
    "multilingual-agent",
)


class Registry:
    """The agents and models this installation knows. Immutable."""

    def __init__(self, document: RegistryDocument) -> None:
        self.document = document
        self.models: dict[str, Model] = {**document.models, **document.custom_models}
        self.agents: dict[str, Agent] = dict(document.agents)

    def agent(self, agent_id: str) -> Agent:
        """The agent of that id.

        Raises:
            UnknownAgentError: There is none.
        """
        try:
            return self.agents[agent_id]
        except KeyError:
            known = ", ".join(self.agents)
            raise UnknownAgentError(name=agent_id[:80], known=known) from None

    def model(self, model_id: str) -> Model:
        """The model of that id.

        Raises:
            UnknownAgentError: There is none.
        """
        try:
            return self.models[model_id]
        except KeyError:
            raise UnknownAgentError(name=model_id[:80], known=", ".join(self.models)) from None

    def variants(self) -> Iterator[tuple[str, Variant]]:
        """Every `(model id, variant)`."""
        for model_id, model in self.models.items():
            for variant in model.variants:
                yield model_id, variant


def load_registry(file: Path) -> Registry:
    """Read and check a registry file.

    Raises:
        RegistryError: Unreadable, no JSON, or against the rules; names the JSON path
            and the reason.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RegistryError(file=file.name, path="$", reason="the file is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = f"cannot be read ({type(error).__name__})"
        raise RegistryError(file=file.name, path="$", reason=reason) from error
    return parse_registry(text, name=file.name)


def parse_registry(text: str, *, name: str = "models.json") -> Registry:
    """Check registry JSON given as text.

    Raises:
        RegistryError: As `load_registry`.
    """
    try:
        data = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        reason = f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise RegistryError(file=name, path="$", reason=reason) from error
    except (ValueError, RecursionError) as error:
        raise RegistryError(file=name, path="$", reason=str(error)) from error
    try:
        document = RegistryDocument.model_validate_json(json.dumps(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        more = error.error_count() - 1
        reason = first["msg"].removeprefix("Value error, ") + (
            f" (and {more} more)" if more else ""
        )
        raise RegistryError(file=name, path=_json_path(first["loc"]), reason=reason) from error
    for path, reason in _dangling(document):
        raise RegistryError(file=name, path=path, reason=reason)
    return Registry(document)


def registry_schema() -> dict[str, Any]:
    """The JSON schema of `models.json`, as `models.schema.json` holds it."""
    schema = RegistryDocument.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            msg = f"the key {key!r} stands twice in one object"
            raise ValueError(msg)
        made[key] = value
    return made


def _no_constant(name: str) -> None:
    msg = f"{name} is no JSON number"
    raise ValueError(msg)


def _json_path(location: tuple[int | str, ...]) -> str:
    path = "$"
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}"
    return path


def _dangling(document: RegistryDocument) -> Iterator[tuple[str, str]]:
    """References that lead nowhere, as `(JSON path, reason)`."""
    models = {**document.models, **document.custom_models}
    for model_id in document.custom_models.keys() & document.models.keys():
        yield f"$.custom_models.{model_id}", "has the name of a built-in model"
    for agent_id in AGENT_IDS:
        if agent_id not in document.agents:
            yield "$.agents", f"{agent_id} is missing"
    for agent_id, agent in document.agents.items():
        if agent_id in models:
            yield f"$.agents.{agent_id}", "has the name of a model"
        if agent.model not in models:
            yield f"$.agents.{agent_id}.model", f"there is no model {agent.model!r}"
        elif all(variant.status == "unpinned" for variant in models[agent.model].variants):
            yield f"$.agents.{agent_id}.model", f"{agent.model!r} is unpinned: it cannot be served"
        for index, other in enumerate(agent.fallback):
            if other not in document.agents or other == agent_id:
                yield f"$.agents.{agent_id}.fallback[{index}]", f"{other!r} is no other agent"
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

"""`models.json` read, checked and asked questions. Refused as a whole or right as a whole."""

from __future__ import annotations

import hashlib
import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orion.errors import RegistryError, UnknownAgentError
from orion.registry.entries import RegistryDocument
from orion.registry.references import broken_references

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
MAX_REGISTRY_BYTES = 4 * 1024 * 1024


class Registry:
    """The agents and models this installation knows. Immutable.

    `sha256` is that of the file it was read from, "" where there was none.
    """

    def __init__(self, document: RegistryDocument, *, sha256: str = "") -> None:
        self.document = document
        self.sha256 = sha256
        self.models: Mapping[str, Model] = MappingProxyType(document.all_models)
        self.agents: Mapping[str, Agent] = MappingProxyType(dict(document.agents))
        self._digests: dict[str, str] = {}

    def agent(self, agent_id: str) -> Agent:
        """The agent of that id.

        Raises:
            UnknownAgentError: There is none.
        """
        try:
            return self.agents[agent_id]
        except KeyError:
            raise UnknownAgentError(name=agent_id[:80], known=", ".join(self.agents)) from None

    def model(self, model_id: str) -> Model:
        """The model of that id.

        Raises:
            UnknownAgentError: There is none.
        """
        try:
            return self.models[model_id]
        except KeyError:
            raise UnknownAgentError(name=model_id[:80], known=", ".join(self.models)) from None

    @property
    def used_models(self) -> frozenset[str]:
        """The models that agents use."""
        return frozenset(agent.model for agent in self.agents.values())

    def model_of(self, name: str) -> str:
        """The id of the model behind an agent, or of the model of that name.

        Raises:
            UnknownAgentError: There is neither.
        """
        if name in self.models:
            return name
        if name in self.agents:
            return self.agents[name].model
        known = ", ".join([*self.agents, *self.models])
        raise UnknownAgentError(name=name[:80], known=known)

    def digest(self, model_id: str) -> str:
        """The sha256 of a model's entry: equal where nothing about the model has changed.

        Raises:
            UnknownAgentError: There is no such model.
        """
        if model_id not in self._digests:  # a second thread finds the same
            body = self.model(model_id).model_dump_json()
            self._digests[model_id] = hashlib.sha256(body.encode()).hexdigest()
        return self._digests[model_id]

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
        with file.open("rb") as stream:
            body = stream.read(MAX_REGISTRY_BYTES + 1)
    except FileNotFoundError:
        raise RegistryError(file=file.name, path="$", reason="the file is missing") from None
    except (OSError, ValueError) as error:
        reason = f"the file cannot be read ({type(error).__name__})"
        raise RegistryError(file=file.name, path="$", reason=reason) from error
    if len(body) > MAX_REGISTRY_BYTES:
        reason = f"the file has more than {MAX_REGISTRY_BYTES} bytes"
        raise RegistryError(file=file.name, path="$", reason=reason)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"is no UTF-8 text (byte {error.start})"
        raise RegistryError(file=file.name, path="$", reason=reason) from error
    return parse_registry(text, name=file.name)


def parse_registry(text: str, *, name: str = "models.json") -> Registry:
    """Check registry JSON given as text.

    Raises:
        RegistryError: As `load_registry`.
    """
    data, normal = _parsed(text, name)
    try:
        document = RegistryDocument.model_validate_json(normal)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        more = error.error_count() - 1
        reason = first["msg"].removeprefix("Value error, ") + (
            f" (and {more} more)" if more else ""
        )
        path = _json_path(first["loc"], data)
        raise RegistryError(file=name, path=path, reason=reason) from error
    for agent_id in AGENT_IDS:
        if agent_id not in document.agents:
            raise RegistryError(file=name, path="$.agents", reason=f"{agent_id} is missing")
    for path, reason in broken_references(document):
        raise RegistryError(file=name, path=path, reason=reason)
    body = text.encode("utf-8", "surrogatepass")
    return Registry(document, sha256=hashlib.sha256(body).hexdigest())


def registry_schema() -> dict[str, Any]:
    """The JSON schema of `models.json`, as `models.schema.json` holds it."""
    schema = RegistryDocument.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class _Object(dict[str, Any]):
    """A JSON object that remembers which key stood in it twice."""

    repeated: str | None = None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object()
    for key, value in pairs:
        if key in made and made.repeated is None:
            made.repeated = key
        made[key] = value
    return made


def _parsed(text: str, name: str) -> tuple[Any, str]:
    """The values, and the same as JSON for pydantic to read.

    Infinities and NaN pass here: pydantic refuses them where they stand.
    """
    try:
        data = json.loads(text, object_pairs_hook=_object)
        normal = json.dumps(data)
        for path, key in _repeated(data, "$"):
            reason = f"the key {key!r} stands twice in one object"
            raise RegistryError(file=name, path=path, reason=reason)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        reason = f"is no JSON: {what} at line {error.lineno}, column {error.colno}"
        raise RegistryError(file=name, path="$", reason=reason) from error
    except RecursionError as error:
        raise RegistryError(file=name, path="$", reason="is nested too deeply") from error
    except ValueError as error:
        raise RegistryError(file=name, path="$", reason="holds a number too long") from error
    return data, normal


def _repeated(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Object):
        if value.repeated is not None:
            yield path, value.repeated
        for key, inner in value.items():
            yield from _repeated(inner, f"{path}{_step(key)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _repeated(inner, f"{path}[{index}]")


def _json_path(location: Sequence[int | str], data: Any) -> str:
    """A location of pydantic as a JSON path; the names it gives to union members are left out."""
    path, here = "$", data
    for position, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
        elif isinstance(here, dict) and part in here:
            path += _step(part)
            here = here[part]
        elif part != "[key]" and position == len(location) - 1:
            path += _step(part)
    return path


def _step(key: str) -> str:
    return f".{key}" if re.fullmatch(r"[\w-]+", key) else f"[{json.dumps(key)}]"

"""The registry: which agents and models there are, and where their files lie."""

from orion.registry.current import RegistryRef
from orion.registry.difference import Difference, difference
from orion.registry.entries import (
    Agent,
    Architecture,
    FileEntry,
    HubSource,
    ImportSource,
    Model,
    RegistryDocument,
    Variant,
    WheelSource,
)
from orion.registry.fields import FileFormat, Precision
from orion.registry.files import HashMemo, imported_dir, locate, sha256_of, verify
from orion.registry.registry import (
    AGENT_IDS,
    CONVERSATION_AGENT,
    Registry,
    load_registry,
    parse_registry,
    registry_schema,
)

__all__ = [
    "AGENT_IDS",
    "CONVERSATION_AGENT",
    "Agent",
    "Architecture",
    "Difference",
    "FileEntry",
    "FileFormat",
    "HashMemo",
    "HubSource",
    "ImportSource",
    "Model",
    "Precision",
    "Registry",
    "RegistryDocument",
    "RegistryRef",
    "Variant",
    "WheelSource",
    "difference",
    "imported_dir",
    "load_registry",
    "locate",
    "parse_registry",
    "registry_schema",
    "sha256_of",
    "verify",
]

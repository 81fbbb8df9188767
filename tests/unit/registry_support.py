"""The shipped registry as values to spoil, and the refusal that follows."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from orion.errors import RegistryError
from orion.registry import load_registry

SHIPPED = Path(__file__).resolve().parents[2] / "models.json"
EMBEDDED = "smollm2-135m-instruct"
MODEL = f"$.models.{EMBEDDED}"
VARIANT = f"{MODEL}.variants[0]"


def shipped_document() -> dict[str, Any]:
    """The shipped registry as plain values."""
    document: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return document


def place(value: Any, *path: str | int) -> Any:
    """What stands at `path`."""
    for part in path:
        value = value[part]
    return value


def spoilt(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at `path`."""
    made = copy.deepcopy(document)
    place(made, *path[:-1])[path[-1]] = value
    return made


def refusal_of(folder: Path, content: Any) -> RegistryError:
    """Write `content` (bytes, text or values) to a file, load it, give back the error."""
    file = folder / "models.json"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        file.write_text(text, encoding="utf-8")
    with pytest.raises(RegistryError) as caught:
        load_registry(file)
    assert caught.value.facts["file"] == "models.json"
    assert caught.value.facts["path"].startswith("$")
    assert caught.value.facts["reason"]
    return caught.value

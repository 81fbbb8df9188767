"""Registries to reload: the shipped one with a model of our own, and what changes in it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tests.unit.registry_support import EMBEDDED, shipped_document

OWN = "own-model"


def own_document() -> dict[str, Any]:
    """The shipped registry, with a model of our own that the code agent uses."""
    made = shipped_document()
    made["custom_models"][OWN] = copy.deepcopy(made["models"][EMBEDDED])
    made["agents"]["code-agent"]["model"] = OWN
    return made


def written(file: Path, document: Any) -> Path:
    """`document` in `file`, replaced in one step as an editor does."""
    text = document if isinstance(document, str) else json.dumps(document)
    beside = file.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    return beside.replace(file)


def with_poet(document: dict[str, Any], model: str = EMBEDDED) -> dict[str, Any]:
    """One more agent."""
    made = copy.deepcopy(document)
    made["agents"]["poet"] = {**made["agents"]["creative-agent"], "model": model, "fallback": []}
    return made

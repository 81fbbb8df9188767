"""A `models.json` in which the code agent has a model of its own."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from orion.settings import PACKAGE_ROOT

FIRST = "smollm2-135m-instruct"
SECOND = "second-model"


def write_two_models(folder: Path) -> Path:
    """The file: all agents on `FIRST`, but `code-agent` on `SECOND`, the same weights again."""
    document = json.loads((PACKAGE_ROOT / "models.json").read_text(encoding="utf-8"))
    document["models"][SECOND] = copy.deepcopy(document["models"][FIRST])
    document["agents"]["code-agent"]["model"] = SECOND
    file = folder / "models.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file

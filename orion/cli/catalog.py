"""`orion models`, `orion validate`, `orion schema`: registry work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orion.cli.options import read_settings
from orion.cli.output import table
from orion.cli.survey import agent_rows, model_rows, models_text
from orion.placement import choose_profile, probe_machine
from orion.registry import load_registry, registry_schema

if TYPE_CHECKING:
    from pathlib import Path

    from orion.cli.output import Console


def run_schema(console: Console) -> None:
    """Print the schema, as `models.schema.json` holds it; `--json` changes nothing."""
    console.line(schema_text().rstrip("\n"))


def schema_text() -> str:
    """The content of `models.schema.json`."""
    return json.dumps(registry_schema(), ensure_ascii=False, indent=2) + "\n"


def run_validate(console: Console, path: Path | None) -> None:
    """Check a registry file.

    Raises:
        RegistryError: It is refused; names the JSON path and the reason.
    """
    file = path or read_settings().registry
    registry = load_registry(file)
    counts = {
        "models": len(registry.document.models),
        "custom_models": len(registry.document.custom_models),
        "agents": len(registry.agents),
    }
    if console.as_json:
        console.document({"file": str(file), "valid": True, **counts})
    else:
        words = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        console.line(f"{file}: valid ({words})")


def run_models(console: Console) -> None:
    """List models and agents, and what of them is here.

    Raises:
        RegistryError: The registry in use is refused.
    """
    settings = read_settings()
    registry = load_registry(settings.registry)
    verdict = choose_profile(probe_machine(settings.home), settings.profile)
    models = model_rows(registry, settings, verdict.profile)
    agents = agent_rows(registry, models)
    if console.as_json:
        console.document({"profile": str(verdict.profile), "models": models, "agents": agents})
        return
    console.line(models_text(models))
    console.line()
    header = ("AGENT", "MODEL", "DOES")
    body = [(agent["id"], agent["model"], agent["description"]["en"]) for agent in agents]
    console.line(table([header, *body]))

"""What of the registry would run on this machine: rows for `models` and `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.cli.output import table
from orion.placement import judge_variants
from orion.units import format_bytes

if TYPE_CHECKING:
    from orion.placement import Profile, Verdict
    from orion.registry import Registry
    from orion.settings import Settings


def model_rows(registry: Registry, settings: Settings, profile: Profile) -> list[dict[str, Any]]:
    """Each model: the variant that would run, or why none; and every variant's state."""
    rows = []
    for model_id, model in registry.models.items():
        verdicts = judge_variants(
            model,
            model_id=model_id,
            profile=profile,
            preferred=settings.runtime,
            home=settings.home,
        )
        chosen = next((verdict for verdict in verdicts if verdict.runs), None)
        rows.append(
            {
                "id": model_id,
                "name": model.name,
                "parameters": model.parameters,
                "context_tokens": model.context_tokens,
                "languages": list(model.languages),
                "licence": model.licence,
                "runs": chosen is not None,
                "variant": chosen.variant.id if chosen else None,
                "runtime": str(chosen.variant.runtime) if chosen else None,
                "reason": (chosen or verdicts[0]).reason,
                "variants": [_variant_row(verdict) for verdict in verdicts],
            }
        )
    return rows


def _variant_row(verdict: Verdict) -> dict[str, Any]:
    variant = verdict.variant
    return {
        "id": variant.id,
        "runtime": str(variant.runtime),
        "format": str(variant.format),
        "precision": str(variant.precision),
        "bits_per_weight": variant.bits_per_weight,
        "size_bytes": variant.size_bytes or None,
        "status": variant.status,
        "source": variant.source.model_dump(mode="json", exclude_none=True),
        "present": verdict.present,
        "runs": verdict.runs,
        "reason": verdict.reason,
    }


def agent_rows(registry: Registry, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each agent, its model, and whether that model would run."""
    running = {row["id"] for row in models if row["runs"]}
    return [
        {
            "id": agent_id,
            "name": agent.name.model_dump(),
            "description": agent.description.model_dump(),
            "model": agent.model,
            "runs": agent.model in running,
            "capabilities": list(agent.capabilities),
            "fallback": list(agent.fallback),
        }
        for agent_id, agent in registry.agents.items()
    ]


def models_text(rows: list[dict[str, Any]]) -> str:
    """What may be served as a table, then the names of what is only listed."""
    header: tuple[str, ...] = ("MODEL", "VARIANT", "SIZE", "HERE", "RUNS")
    body = [
        _variant_cells(row, variant)
        for row in rows
        for variant in row["variants"]
        if variant["status"] != "unpinned"
    ]
    listed = [
        row["id"]
        for row in rows
        if all(variant["status"] == "unpinned" for variant in row["variants"])
    ]
    if not listed:
        return table([header, *body])
    rest = f"Listed, never served before they are pinned: {', '.join(listed)}"
    return f"{table([header, *body])}\n{rest}"


def _variant_cells(row: dict[str, Any], variant: dict[str, Any]) -> tuple[str, ...]:
    if row["variant"] == variant["id"]:
        runs = f"yes: {variant['reason']}"
    else:
        runs = "could" if variant["runs"] else f"no: {variant['reason']}"
    size = format_bytes(variant["size_bytes"]) if variant["size_bytes"] else "-"
    return row["id"], variant["id"], size, "yes" if variant["present"] else "no", runs

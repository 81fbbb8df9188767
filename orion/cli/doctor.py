"""`orion doctor`: what this machine has, what would run on it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from orion.cli.options import read_settings
from orion.cli.output import table
from orion.cli.survey import agent_rows, model_rows, models_text
from orion.errors import RegistryError
from orion.placement import choose_profile, probe_machine
from orion.registry import load_registry
from orion.units import format_bytes

if TYPE_CHECKING:
    from orion.cli.output import Console
    from orion.placement import Machine, ProfileVerdict
    from orion.settings import Settings


def run_doctor(console: Console) -> None:
    """Look, tell, and fail where no agent could answer.

    Raises:
        typer.Exit: Something keeps every agent from answering; it is among the problems.
    """
    settings = read_settings()
    report = examine(settings)
    if console.as_json:
        console.document(report)
    else:
        console.line(report_text(report))
    if report["blocking"]:
        console.error(report["problems"][0], code="doctor")
        raise typer.Exit(1)


def examine(settings: Settings) -> dict[str, Any]:
    """Everything `doctor` tells, as plain values."""
    machine = probe_machine(settings.home)
    verdict = choose_profile(machine, settings.profile)
    problems: list[str] = []
    models: list[dict[str, Any]] = []
    agents: list[dict[str, Any]] = []
    try:
        registry = load_registry(settings.registry)
        models = model_rows(registry, settings, verdict.profile)
        agents = agent_rows(registry, models)
    except RegistryError as error:
        problems.append(error.public_message)
    blocking = not any(agent["runs"] for agent in agents)
    if models and blocking:
        problems.append(f"no agent can answer: {models[0]['reason']}")
    problems += [
        f"{agent['id']} cannot answer: {agent['model']} does not run here"
        for agent in agents
        if not agent["runs"] and not blocking
    ]
    if not machine.home_writable:
        problems.append(f"ORION_HOME ({machine.home}) cannot be written to")
    return {
        "profile": str(verdict.profile),
        "profile_reason": verdict.reason,
        "devices": _devices(machine, verdict),
        "memory": {
            "total_bytes": machine.memory_total_bytes,
            "available_bytes": machine.memory_available_bytes,
            "limit_bytes": machine.memory_limit_bytes,
        },
        "home": {
            "path": machine.home,
            "writable": machine.home_writable,
            "free_bytes": machine.disk_free_bytes,
        },
        "software": {
            "system": machine.system,
            "python": machine.python,
            "torch_build": machine.torch_build,
            "runtimes": [str(runtime) for runtime in machine.runtimes],
        },
        "space": machine.space,
        "registry": str(settings.registry),
        "models": models,
        "agents": agents,
        "problems": problems,
        "blocking": blocking,
    }


def _devices(machine: Machine, verdict: ProfileVerdict) -> list[dict[str, Any]]:
    cpu = {
        "kind": "cpu",
        "name": machine.cpu_name,
        "cores": machine.cores,
        "host_cores": machine.host_cores,
        "instruction_sets": list(machine.instruction_sets),
    }
    gpus = [
        {
            "kind": "gpu",
            "index": gpu.index,
            "name": gpu.name,
            "total_bytes": gpu.total_bytes,
            "free_bytes": gpu.free_bytes,
            "driver": gpu.driver,
            "compute_capability": gpu.compute_capability,
            "used": verdict.profile.value != "cpu",
        }
        for gpu in machine.gpus
    ]
    return [cpu, *gpus]


def report_text(report: dict[str, Any]) -> str:
    """The report for people."""
    memory, home, software = report["memory"], report["home"], report["software"]
    limit = f" (limit {_size(memory['limit_bytes'])})" if memory["limit_bytes"] else ""
    facts = [
        ("profile", f"{report['profile']}: {report['profile_reason']}"),
        *((device["kind"], _device_text(device)) for device in report["devices"]),
        (
            "memory",
            f"{_size(memory['available_bytes'])} free of {_size(memory['total_bytes'])}{limit}",
        ),
        (
            "home",
            f"{home['path']}: {_size(home['free_bytes'])} free"
            + ("" if home["writable"] else ", cannot be written to"),
        ),
        (
            "software",
            ", ".join(
                (
                    software["system"],
                    f"Python {software['python']}",
                    f"torch {software['torch_build'] or 'missing'}",
                    f"runtimes {' and '.join(software['runtimes']) or 'none'}",
                )
            ),
        ),
        ("registry", report["registry"]),
        *((name, value) for name, value in report["space"].items()),
    ]
    parts = [table(facts)]
    if report["models"]:
        parts += ["", models_text(report["models"])]
    parts += ["", *(f"problem: {problem}" for problem in report["problems"])]
    return "\n".join(parts).rstrip()


def _device_text(device: dict[str, Any]) -> str:
    if device["kind"] == "cpu":
        sets = ", ".join(device["instruction_sets"]) or "no known instruction set"
        return f"{device['name']}: {device['cores']} of {device['host_cores']} cores, {sets}"
    return (
        f"{device['name']}: {_size(device['free_bytes'])} free of "
        f"{_size(device['total_bytes'])}, driver {device['driver']}"
    )


def _size(count: int | None) -> str:
    return "unknown" if count is None else format_bytes(count)

"""Options that several commands share, and settings for commands that run once and end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orion.cli.output import Console

if TYPE_CHECKING:
    from orion.engine import Engine
    from orion.settings import Settings


def console_of(context: typer.Context, *, as_json: bool = False, debug: bool = False) -> Console:
    """The console of this run, told what the command's options ask for."""
    console = context.ensure_object(Console)
    console.as_json = console.as_json or as_json
    console.debug = console.debug or debug
    return console


Debug = Annotated[bool, typer.Option("--debug", help="Log more; show where an error arose.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
JsonlIn = Annotated[
    Path | None,
    typer.Option("--file", metavar="IN.jsonl", help='Lines of {"text": …}; "-" reads stdin.'),
]


def read_settings(**given: Any) -> Settings:
    """Settings from `given`, then the environment.

    Raises:
        typer.BadParameter: A value is out of range; names the variable.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from orion.settings import Settings

    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "ORION_" + "__".join(str(part) for part in first["loc"]).upper()
        msg = f"{name}: {first['msg']}."
        raise typer.BadParameter(msg) from error
    except SettingsError as error:
        msg = f"the ORION_ variables cannot be read: {error}."
        raise typer.BadParameter(msg) from error


def one_shot_settings(console: Console) -> Settings:
    """Settings of a command that answers and ends: quiet, one slot, no worker in reserve.

    What goes wrong is told by the command's one error line, not by the log as well.
    """
    settings = read_settings()
    changes: dict[str, Any] = {"worker": {"spares": 0, "slots": 1}, "preload": False}
    if console.debug:
        changes["log"] = {"level": "DEBUG"}
    elif "level" not in settings.log.model_fields_set:
        changes["log"] = {"level": "CRITICAL"}
    return read_settings(**changes)


def one_shot_engine(console: Console) -> Engine:
    """An engine for a command that answers and ends."""
    from orion.build import build_engine

    return build_engine(one_shot_settings(console))

"""The Typer application: the commands' signatures and help; the work is done elsewhere.

Modules that do the work are imported by the command that needs them, so that
`orion --help` and `orion ask` start quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orion.cli.options import AsJson, Debug, JsonlIn, console_of
from orion.types import AUTO

app = typer.Typer(
    name="orion",
    help="ORION: a chat engine for small local language models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(context: typer.Context, value: bool) -> None:
    if value:
        from orion import __version__

        console_of(context).line(f"orion {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    debug: Debug = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """ORION: a chat engine for small local language models."""
    console_of(context, debug=debug)


@app.command()
def ask(
    context: typer.Context,
    *,
    text: Annotated[str, typer.Argument(help='The message; "-" reads it from stdin.')],
    agent: Annotated[str, typer.Option(help="An agent or model id.")] = AUTO,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest word.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Mass of the words to choose from.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes a random choice repeatable.")] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON list of {role, content}.")
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Instead of the agent's.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer one message; the text appears as it is written."""
    from orion.cli.asking import run_ask

    options = {
        "agent": agent,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "system_prompt": system_prompt,
    }
    run_ask(console_of(context, as_json=as_json, debug=debug), text, options, history)


@app.command()
def route(
    context: typer.Context,
    text: Annotated[list[str] | None, typer.Argument(help="Messages.")] = None,
    file: JsonlIn = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show which agent would answer, without asking it. With --file: JSONL in, JSONL out."""
    from orion.cli.routes import run_route

    if bool(text) == (file is not None):
        msg = "Give either messages or --file."
        raise typer.BadParameter(msg)
    run_route(console_of(context, as_json=as_json, debug=debug), text or [], file)


@app.command()
def doctor(context: typer.Context, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show what this machine has, what would run on it, and why."""
    from orion.cli.doctor import run_doctor

    run_doctor(console_of(context, as_json=as_json, debug=debug))


@app.command()
def models(context: typer.Context, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the models and agents of the registry."""
    from orion.cli.catalog import run_models

    run_models(console_of(context, as_json=as_json, debug=debug))


@app.command()
def validate(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="Default: the registry in use.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check a models.json; a refusal names the place and the reason."""
    from orion.cli.catalog import run_validate

    run_validate(console_of(context, as_json=as_json, debug=debug), path)


@app.command()
def schema(context: typer.Context, as_json: AsJson = False, debug: Debug = False) -> None:
    """Print the JSON schema of models.json."""
    from orion.cli.catalog import run_schema

    run_schema(console_of(context, as_json=as_json, debug=debug))


@app.command("import-gguf")
def import_gguf(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A GGUF file.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Turn a GGUF file into a safetensors checkpoint that `from_pretrained` loads."""
    from orion.cli.tools import run_import_gguf

    run_import_gguf(console_of(context, as_json=as_json, debug=debug), file, out)


@app.command()
def bench(
    context: typer.Context,
    scenario: Annotated[str | None, typer.Option(help="One scenario; default: all.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure this installation side by side with the baselines."""
    from orion.cli.tools import run_bench

    run_bench(console_of(context, as_json=as_json, debug=debug), scenario)

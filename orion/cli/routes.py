"""`orion route`: routing only, for messages or for a file of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from orion.cli.options import one_shot_engine
from orion.cli.reading import jsonl_texts, open_binary
from orion.errors import OrionError

if TYPE_CHECKING:
    from pathlib import Path

    from orion.cli.output import Console
    from orion.engine import Engine


def run_route(console: Console, texts: list[str], file: Path | None) -> None:
    """Route `texts`, or the lines of `file`; see `orion route --help`.

    Raises:
        InvalidQueryError: A message is no valid input, or the file cannot be read.
        typer.Exit: Some lines of the file could not be routed.
    """
    if file is not None:
        _route_file(console, file)
        return
    with one_shot_engine(console) as engine:
        routed = [_routed(engine, text) for text in texts]
    if console.as_json:
        console.document(routed[0] if len(routed) == 1 else routed)
        return
    for row in routed:
        console.line(f"{row['agent']}  {row['confidence']:.2f}  {row['reason']}")


def _route_file(console: Console, file: Path) -> None:
    stream = open_binary(file, field="file")
    total = broken = 0
    with stream, one_shot_engine(console) as engine:
        for text in jsonl_texts(stream):
            total += 1
            try:
                row = _routed(engine, _or_raise(text))
            except OrionError as error:
                broken += 1
                given = {"text": text} if isinstance(text, str) else {}
                problem = {"code": error.code, "message": error.public_message}
                row = {**given, "item": total, "error": problem}
            console.row(row)
    if broken:
        console.error(f"{broken} of {total} lines could not be routed.", code="invalid_query")
        raise typer.Exit(1)


def _or_raise(text: str | OrionError) -> str:
    if isinstance(text, OrionError):
        raise text
    return text


def _routed(engine: Engine, text: str) -> dict[str, Any]:
    return {"text": text, **engine.route(text).as_dict()}

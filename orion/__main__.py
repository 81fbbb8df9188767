"""`python -m orion`: the command line, and the one command that needs the page."""

from __future__ import annotations

import sys
from typing import Annotated

from typer import Option

from orion.cli import app, main
from orion.cli.options import read_settings

__all__ = ["main"]


@app.command()
def serve(
    host: Annotated[
        str | None, Option(help="Address to listen on; default ORION_HOST or 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, Option(help="Port; default ORION_PORT or 7860; 0 takes a free one.")
    ] = None,
) -> None:
    """Start the app: page, Gradio endpoints and /v1 on one port. Ctrl-C stops it."""
    from orion.serve import serve as serve_until_stopped

    given = {"host": host, "port": port}
    serve_until_stopped(
        read_settings(**{name: value for name, value in given.items() if value is not None})
    )


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `orion …` and `python -m orion …`.

A module above the faces adds its own command to `app` before calling `main`:

    from orion.cli import app, main

    @app.command()
    def serve(...): ...
"""

from orion.cli.commands import app
from orion.cli.edge import main

__all__ = ["app", "main"]

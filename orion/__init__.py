"""ORION: a chat engine for small local language models.

from orion import Settings, build_engine

with build_engine(Settings()) as engine:
    print(engine.ask("Write a haiku about rain.").text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.build import build_engine
    from orion.engine import Engine
    from orion.settings import Settings

__version__ = "0.1.0"
__all__ = ["Engine", "Settings", "__version__", "build_engine"]


def __getattr__(name: str) -> Any:
    # Late, so that a worker process does not pay for the parent's half.
    if name == "Settings":
        from orion.settings import Settings

        return Settings
    if name == "Engine":
        from orion.engine import Engine

        return Engine
    if name == "build_engine":
        from orion.build import build_engine

        return build_engine
    msg = f"module 'orion' has no attribute {name!r}"
    raise AttributeError(msg)

"""The engine: one request's walk from the door to the last token."""

from orion.engine.engine import Engine
from orion.engine.services import Services

__all__ = ["Engine", "Services"]

"""Which agent answers a message."""

from orion.routing.keywords import KeywordRouter
from orion.routing.language import language_of
from orion.routing.router import Router

__all__ = ["KeywordRouter", "Router", "language_of"]

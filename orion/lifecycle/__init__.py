"""The states of one request and the moves between them."""

from orion.lifecycle.machine import RequestMachine

__all__ = ["RequestMachine"]

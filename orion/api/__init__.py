"""The HTTP API beside the page: `/v1` in OpenAI's protocol, health probes, metrics."""

from orion.api.gate import BodyGate
from orion.api.routes import routes
from orion.api.seam import ServedEngine

__all__ = ["BodyGate", "ServedEngine", "routes"]

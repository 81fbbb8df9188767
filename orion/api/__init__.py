"""The HTTP API beside the page: `/v1` in OpenAI's protocol, health probes, metrics."""

from orion.api.gate import BodyGate
from orion.api.routes import HttpApi
from orion.api.seam import ServedEngine

__all__ = ["BodyGate", "HttpApi", "ServedEngine"]

"""Input guardrails: a raw query comes in, a `ValidQuery` or a refusal comes out."""

from orion.guardrails.duration import parse_keep_alive
from orion.guardrails.validate import Limits, client_of_session, validate

__all__ = ["Limits", "client_of_session", "parse_keep_alive", "validate"]

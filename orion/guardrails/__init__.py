"""Input guardrails: a raw query comes in, a `ValidQuery` or a refusal comes out."""

from orion.guardrails.validate import Limits, validate

__all__ = ["Limits", "validate"]

"""Who asks: whose share of the system a request counts against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.guardrails import client_of_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

_CHARS_MAX = 128
_NAMES = {"user": "user", "safety_identifier": "safety"}


def client_of(body: Mapping[str, Any], scope: Scope) -> str:
    """The client behind a chat request: its session, else its user, else its address.

    The kinds have prefixes, so that none can pass for another. Nothing here is proven: it
    makes shares fair among clients that behave, and keeps nobody out.
    """
    session = body.get("session")
    if isinstance(session, str) and session:
        return client_of_session(session[:_CHARS_MAX])
    for field, kind in _NAMES.items():
        name = body.get(field)
        if isinstance(name, str) and name:
            return f"{kind}:{name[:_CHARS_MAX]}"
    peer = scope.get("client")
    return f"address:{peer[0]}" if peer else ""

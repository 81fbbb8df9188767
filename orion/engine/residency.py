"""Models brought into memory and let go because somebody asked for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.dispatcher import Attempt, Ended, Granted, Ticket
from orion.errors import InvalidQueryError
from orion.guardrails import parse_keep_alive
from orion.types import new_request_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from orion.dispatcher import Dispatcher

_UNLOAD_LIMIT_S = 120.0


def make_resident(
    dispatcher: Dispatcher,
    model: str,
    *,
    keep_alive: Any,
    pin: Any,
    always_pinned: Collection[str],
) -> dict[str, Any]:
    """Load `model`, unless it is there, and wait for it; see `Engine.load`.

    `always_pinned` are those that stay pinned even where their load fails.

    Raises:
        InvalidQueryError: `keep_alive` or `pin` is no such value.
        OrionError: The load failed, or no place could be had.
    """
    keep_alive_s = parse_keep_alive(keep_alive)
    if pin is not None and not isinstance(pin, bool):
        raise InvalidQueryError(field="pin", reason="must be true or false")
    if pin is not None:  # before the load, so that nobody takes its place in between
        dispatcher.pin(model, pinned=pin)
    ticket = Ticket(
        request_id=f"load-{new_request_id()}",
        attempts=(Attempt(model=model),),
        keep_alive_s=keep_alive_s,
    )
    dispatcher.submit(ticket)
    while True:
        message = ticket.get(1.0)
        if isinstance(message, Granted):
            return {
                "model": model,
                "variant": message.variant,
                "runtime": message.runtime,
                "load_s": message.load_s,
                "resident": True,
            }
        if isinstance(message, Ended):
            if pin and model not in always_pinned:
                dispatcher.pin(model, pinned=False)
            raise message.error


def let_go(dispatcher: Dispatcher, model: str) -> dict[str, Any]:
    """Unpin `model` and end its worker once idle; see `Engine.unload`."""
    dispatcher.pin(model, pinned=False)
    return {"model": model, "unloaded": dispatcher.unload(model, _UNLOAD_LIMIT_S)}

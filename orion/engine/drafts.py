"""A message that is still being typed: where it would go, and its model warmed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.guardrails import validate
from orion.registry import CONVERSATION_AGENT
from orion.routing import language_of
from orion.types import AUTO, Query

if TYPE_CHECKING:
    from orion.engine.services import Services

_VERDICT_S = 0.1


def consider(
    services: Services, text: Any, *, session: Any, agent: Any, history: Any
) -> dict[str, Any]:
    """Where `text` would go as it stands; its model is loaded ahead where that is likely to pay.

    The draft is neither kept nor logged nor counted.

    Returns:
        `agent`, `confidence` (1 where the caller chose), `abstained`, `model`, and whether that
        model is `resident` or `warming`, on its way.

    Raises:
        InvalidQueryError: It could not be sent as it is.
    """
    registry = services.registry
    query = validate(
        Query(text=text, agent=agent, history=history, session=session),
        names=[*registry.agents, *registry.models],
        limits=services.limits,
    )
    chosen, confidence, abstained = query.agent, 1.0, False
    if query.agent == AUTO:
        route = services.router.route(query.text, query.history)
        chosen, confidence, abstained = route.agent, route.confidence, route.abstained
    model = registry.model_of(chosen)
    ahead = services.preloader.draft(query.session, chosen, confidence, model)
    begun = False
    if ahead is not None:
        is_agent = chosen in registry.agents
        begin = registry.agent(chosen).prompt_for(language_of(query.text)) if is_agent else ""
        begun = services.dispatcher.prefetch(ahead, begin=begin, wait_s=_VERDICT_S)
    state = {row["model"]: row["state"] for row in services.dispatcher.models()}.get(model)
    return {
        "agent": CONVERSATION_AGENT if chosen in registry.models else chosen,
        "confidence": confidence,
        "abstained": abstained,
        "model": model,
        "resident": state == "resident",
        "warming": state == "loading" or (begun and state != "resident"),
    }

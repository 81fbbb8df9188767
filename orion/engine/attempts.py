"""Who may answer a query, in order, and what each of them is sent."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from orion.dispatcher import Attempt
from orion.protocol import Generate
from orion.registry import CONVERSATION_AGENT
from orion.routing import language_of
from orion.types import Message, Role

if TYPE_CHECKING:
    from orion.registry import Registry
    from orion.types import ValidQuery


def attempts_of(
    query: ValidQuery,
    agent_id: str,
    *,
    registry: Registry,
    ticket_id: str,
    interval_s: float,
    session: str = "",
) -> tuple[Attempt, ...]:
    """The chosen agent, then its fallback list, and last `conversation-agent`.

    That one has a second try where its worker was lost, which says nothing about the agent.
    A model asked for by its name is never replaced: whoever names one wants that one.
    `session` is the opaque key within which a worker may reuse attention states.
    """

    def generate(name: str, prompt: str | None) -> Generate:
        turns = [*query.history, Message(role=Role.USER, content=query.text)]
        if system := query.system_prompt or prompt:
            turns.insert(0, Message(role=Role.SYSTEM, content=system))
        sampling = query.overrides.over(registry.agent(name).sampling.sampling())
        return Generate(
            request_id=ticket_id,
            messages=[[str(turn.role), turn.content] for turn in turns],
            sampling=asdict(sampling),
            trim_history=query.trim_history,
            session=session,
            shared_messages=1 if prompt and not query.system_prompt else 0,
            interval_s=interval_s,
        )

    if query.agent in registry.models:
        made = generate(agent_id, None)
        return (Attempt(model=query.agent, breaker=query.agent, generate=made),)
    names = [agent_id, *registry.agent(agent_id).fallback, CONVERSATION_AGENT]
    language = language_of(query.text)
    attempts = [
        Attempt(
            agent=name,
            breaker=name,
            model=registry.agent(name).model,
            generate=generate(name, registry.agent(name).prompt_for(language)),
            last_resort=name == CONVERSATION_AGENT,
        )
        for name in dict.fromkeys(names)
    ]
    last = next(attempt for attempt in attempts if attempt.last_resort)
    return (*attempts, replace(last, after_death=True))


def content_of(query: ValidQuery) -> tuple[str, ...]:
    """What the caller wrote, agent and sampling aside: the same poison is known again."""
    turns = [part for turn in query.history for part in (str(turn.role), turn.content)]
    return (query.system_prompt or "", *turns, query.text)

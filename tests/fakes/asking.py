"""Requests with several agents, asked of a hall, and what their workers say of them."""

from __future__ import annotations

from typing import Any

from orion.breakers import BreakerState
from orion.dispatcher import Attempt, Ticket
from orion.protocol import Delta, Failed, Generate
from tests.fakes.hall import Hall, job

LAST = "conversation-agent"


def ask(hall: Hall, *agents: str, models: str = "", content: str = "", **more: Any) -> Ticket:
    """A request that `agents` may answer in turn, on model "a" or on one letter each."""
    hall.asked += 1
    name = f"q{hall.asked}"
    attempts = tuple(
        Attempt(
            agent=agent,
            breaker=agent,
            model=model,
            generate=Generate(request_id=name, messages=[["user", "x"]], sampling={}),
            last_resort=agent == LAST,
        )
        for agent, model in zip(agents, models or "a" * len(agents), strict=True)
    )
    ticket = Ticket(request_id=name, attempts=attempts, content=(content or name,), **more)
    hall.dispatcher.submit(ticket)
    hall.settle()
    return ticket


def fail(hall: Hall, ticket: Ticket, code: str = "generation_failed", **facts: Any) -> None:
    """The worker says that the attempt under way failed."""
    worker = hall.holder(ticket.model)
    worker.say(Failed(request_id=job(ticket), code=code, facts=facts or {"reason": "no"}))
    hall.settle()


def text(ticket: Ticket, seq: int = 0, words: str = "so") -> Delta:
    return Delta(request_id=job(ticket), seq=seq, text=words, num_tokens=1)


def state(hall: Hall, name: str) -> BreakerState:
    return hall.breakers.get(name, hall.rules).state

"""One generation as the answer cache sees it: a ticket at the dispatcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.answer_cache import MessageKind, Question, Source, StoredAnswer
from orion.dispatcher import Ended, FellBack, Granted, Loading, Queued
from orion.dispatcher.ticket import Said
from orion.protocol import Delta, Done, Prefilling
from orion.routing import language_of
from orion.types import FinishReason, Sampling, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orion.dispatcher import Dispatcher, Ticket
    from orion.registry import Registry
    from orion.types import ValidQuery

_RULES = ("guardrails 1",)
"""Versions of what checks and cleans text; a change makes older answers unfindable."""


def _always() -> bool:
    return True


class TicketSource(Source[Said]):
    """Submits `ticket` when the first caller listens, and keeps answers that are whole.

    `holds` says at the end whether the question means what it meant: only then is one kept.
    """

    def __init__(
        self, dispatcher: Dispatcher, ticket: Ticket, *, holds: Callable[[], bool] = _always
    ) -> None:
        self._dispatcher = dispatcher
        self._ticket = ticket
        self._holds = holds

    def start(self) -> None:
        """Put the request into the queue."""
        self._dispatcher.submit(self._ticket)

    def get(self, timeout_s: float) -> Said | None:
        """The next message, or None when none came in time."""
        return self._ticket.get(timeout_s)

    def cancel(self) -> None:
        """Take the request out of the queue, or stop its worker."""
        self._dispatcher.cancel(self._ticket.request_id)

    def kind(self, message: Said) -> MessageKind:
        """What a message means to those who come later: an agent that failed draws nobody."""
        if isinstance(message, Queued | Loading | Prefilling):
            return MessageKind.PROGRESS
        if isinstance(message, FellBack):
            return MessageKind.TURN
        return MessageKind.LAST if isinstance(message, Done | Ended) else MessageKind.PART

    def answer(self, messages: Sequence[Said]) -> StoredAnswer | None:
        """The answer, if its agent ended it by itself: no fallback, no limit, no error."""
        done, text = messages[-1], "".join(m.text for m in messages if isinstance(m, Delta))
        if not isinstance(done, Done) or done.finish_reason != FinishReason.STOP or not text:
            return None
        grants = [message for message in messages if isinstance(message, Granted)]
        if len(grants) != 1 or any(isinstance(message, FellBack) for message in messages):
            return None
        if not self._holds():
            return None
        return StoredAnswer(text=text, usage=usage_of(done), runtime=grants[0].runtime)


def usage_of(done: Done) -> Usage:
    """The tokens that the worker counted."""
    return Usage(
        prompt_tokens=done.prompt_tokens,
        cached_tokens=done.cached_tokens,
        completion_tokens=done.completion_tokens,
    )


def question_of(query: ValidQuery, ticket: Ticket, agent_id: str, registry: Registry) -> Question:
    """What the answer of the first attempt of `ticket` depends on."""
    attempt = ticket.attempts[0]
    assert attempt.generate
    sampling = {**attempt.generate.sampling, "stop": tuple(attempt.generate.sampling["stop"])}
    return Question(
        session=query.session,
        client=query.client,
        asked=query.agent,
        agent=agent_id,
        model=attempt.model,
        model_digest=registry.digest(attempt.model),
        messages=tuple((role, content) for role, content in attempt.generate.messages),
        sampling=Sampling(**sampling),
        trim_history=query.trim_history,
        is_single=not query.history and query.system_prompt is None,
        language=language_of(query.text),
        rules=_RULES,
    )

"""Where one request hears its answer: in the answer cache, beside others, or for itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orion.answer_cache import Hit
from orion.dispatcher import Ended, Ticket
from orion.engine.attempts import attempts_of, content_of
from orion.engine.source import TicketSource, question_of
from orion.errors import CancelledError, DeadlineExceededError, TooManyRequestsError
from orion.types import new_request_id

if TYPE_CHECKING:
    from orion.answer_cache import AnswerKey, Seat
    from orion.dispatcher.ticket import Said
    from orion.engine.account import Account
    from orion.engine.services import Services
    from orion.errors import OrionError
    from orion.registry import Registry
    from orion.types import ValidQuery


class Listener:
    """One request's place at the answer cache. All but `leave` on the caller's thread."""

    def __init__(self, services: Services, account: Account) -> None:
        self._services = services
        self._account = account
        self._seat: Seat[Said] | None = None
        self._source: TicketSource | None = None
        self._key: AnswerKey | None = None
        self._has_left = False
        self._limit_s = services.request_s
        self._until_s = math.inf

    @property
    def is_catching_up(self) -> bool:
        """Whether what was heard last had been said before this request came."""
        return self._seat is not None and self._seat.is_catching_up

    def look_up(self, query: ValidQuery, agent_id: str, registry: Registry) -> Hit | None:
        """The stored answer; or None, and from now on `hear` tells it.

        What begins here may be joined by others unless the caller set a deadline, which would
        be theirs too.

        Raises:
            CancelledError: `leave` was called before.
        """
        if self._has_left:
            raise CancelledError
        services, cache = self._services, self._services.answer_cache
        if query.deadline_s is not None:
            self._limit_s = min(self._limit_s, query.deadline_s)
        # Not the caller's id: that may come again before the worker has let go of this one.
        ticket_id = new_request_id()
        ticket = Ticket(
            request_id=ticket_id,
            attempts=attempts_of(
                query,
                agent_id,
                registry=registry,
                ticket_id=ticket_id,
                interval_s=services.interval_s,
                session=cache.session_key(query.session),
            ),
            name=str(query.request_id)[:64],
            limit_s=self._limit_s,
            content=content_of(query),
            client=query.client,
            keep_alive_s=query.keep_alive_s,
        )
        # Where a reload came in between, its model may have been loaded as another one.
        self._source = TicketSource(
            services.dispatcher, ticket, holds=lambda: services.registry is registry
        )
        self._key = cache.key(question_of(query, ticket, agent_id, registry))
        found = cache.board(self._key, self._source, shared=query.deadline_s is None)
        if isinstance(found, Hit):
            return found
        if not found.leads:
            self._account.cached_age_s = 0.0
            self._until_s = services.clock.now() + self._limit_s
        self._sit_down(found)
        return None

    def hear(self) -> Said | None:
        """The next message, or None when there was none for a while.

        Raises:
            CancelledError: `leave` was called.
            DeadlineExceededError: What was joined goes on for longer than this may take.
        """
        assert self._seat
        wait_s = min(self._services.heartbeat_s, self._left_s())
        message = self._seat.get(wait_s)
        if isinstance(message, Ended) and self._is_anothers(message.error):
            return self._ask_alone().get(wait_s)
        return message

    def leave(self) -> None:
        """Hear no more; the generation ends if nobody else listens. From any thread."""
        self._has_left = True
        if self._seat is not None:
            self._seat.leave()

    def _is_anothers(self, error: OrionError) -> bool:
        """Whether it is about who asked first: its share, if it is another client, or its time."""
        assert self._seat
        if self._seat.leads or self._account.has_text:
            return False
        if isinstance(error, DeadlineExceededError):
            return bool(error.facts["limit_s"] == self._services.request_s)
        is_public = self._key is not None and not self._key.session
        return is_public and isinstance(error, TooManyRequestsError)

    def _left_s(self) -> float:
        if self._until_s == math.inf:
            return math.inf
        left_s = self._until_s - self._services.clock.now()
        if left_s <= 0:
            phase = "answering" if self._account.has_text else "waiting"
            raise DeadlineExceededError(phase=phase, limit_s=self._limit_s)
        return left_s

    def _ask_alone(self) -> Seat[Said]:
        """What was joined is refused for another's sake: ask for oneself, in the time left."""
        assert self._seat
        assert self._source
        self._seat.leave()
        self._account.cached_age_s = None
        seat = self._services.answer_cache.board(None, self._source)
        assert not isinstance(seat, Hit)
        self._sit_down(seat)
        return seat

    def _sit_down(self, seat: Seat[Said]) -> None:
        self._seat = seat
        if self._has_left:  # on another thread, while there was no seat to leave
            seat.leave()
            raise CancelledError

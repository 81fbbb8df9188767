"""What is wrong with a request, or with the moment it comes."""

from __future__ import annotations

from orion.errors.base import OrionError


class InvalidQueryError(OrionError):
    """The request cannot be understood. Facts: `field`, `reason`."""

    code = "invalid_query"
    status = 400
    template = "`{field}` {reason}."


class UnknownAgentError(InvalidQueryError):
    """No agent and no model of that name. Facts: `name`, `known`."""

    code = "unknown_agent"
    status = 404
    template = "There is no agent or model named {name!r}. Known: {known}."


class ContextTooLongError(InvalidQueryError):
    """The prompt does not fit. Facts: `prompt_tokens`, `context_tokens`."""

    code = "context_too_long"
    template = (
        "The conversation has {prompt_tokens} tokens and this model's context holds "
        "{context_tokens}. Shorten it, start a new conversation, or allow trimming."
    )


class TooLargeError(InvalidQueryError):
    """Over a size limit. Facts: `field`, `size`, `limit`, `unit`."""

    code = "too_large"
    status = 413
    template = "`{field}` has {size} {unit}; at most {limit} are accepted."


class UnauthorizedError(OrionError):
    """The admin token is missing or wrong."""

    code = "unauthorized"
    status = 401
    template = "This needs the admin token: the one the server was given as ORION_ADMIN_TOKEN."


class OverloadedError(OrionError):
    """The queue is full. Facts: `queue_max`, `retry_after_s`."""

    code = "overloaded"
    status = 503
    retryable = True
    template = "Too many requests are waiting ({queue_max}). Try again in {retry_after_s:.0f} s."

    def __init__(self, *, queue_max: int, retry_after_s: float = 1.0) -> None:
        super().__init__(queue_max=queue_max, retry_after_s=float(retry_after_s))


class BacklogError(OverloadedError):
    """What waits is too much to read. Facts: `queue_tokens`, `retry_after_s`."""

    code = "backlog"
    template = (
        "The requests that wait hold too much text ({queue_tokens} tokens). "
        "Try again in {retry_after_s:.0f} s."
    )

    def __init__(self, *, queue_tokens: int, retry_after_s: float = 1.0) -> None:
        OrionError.__init__(self, queue_tokens=queue_tokens, retry_after_s=float(retry_after_s))


class TooLateError(OverloadedError):
    """It would not begin before its deadline. Facts: `wait_s`, `limit_s`, `retry_after_s`."""

    code = "too_late"
    template = (
        "This would begin in about {wait_s:.0f} s, and it has {limit_s:.0f} s in all. "
        "Try again in {retry_after_s:.0f} s."
    )

    def __init__(self, *, wait_s: float, limit_s: float, retry_after_s: float = 1.0) -> None:
        OrionError.__init__(
            self, wait_s=float(wait_s), limit_s=float(limit_s), retry_after_s=float(retry_after_s)
        )


class TooManyRequestsError(OrionError):
    """This client holds more than its share. Facts: `held`, `retry_after_s`."""

    code = "too_many_requests"
    status = 429
    retryable = True
    template = (
        "You hold your share of this server's places ({held}). Try again in {retry_after_s:.0f} s."
    )

    def __init__(self, *, held: int, retry_after_s: float = 1.0) -> None:
        super().__init__(held=held, retry_after_s=float(retry_after_s))


class ShuttingDownError(OrionError):
    """The engine is stopping. Facts: `retry_after_s`."""

    code = "shutting_down"
    status = 503
    retryable = True
    template = "The server is shutting down. Try again in a moment."

    def __init__(self, *, retry_after_s: float = 10.0) -> None:
        super().__init__(retry_after_s=float(retry_after_s))


class CancelledError(OrionError):
    """The caller stopped the request. Not a failure of anything."""

    code = "cancelled"
    status = 499
    template = "The request was cancelled."


class DeadlineExceededError(OrionError):
    """The request ran out of time. Facts: `phase`, `limit_s`."""

    code = "deadline"
    status = 504
    retryable = True
    template = "The answer took longer than {limit_s} s (while {phase})."


class SlowReaderError(OrionError):
    """The answer was not taken as it came. Facts: `buffer_bytes`. No failure of the agent."""

    code = "slow_reader"
    status = 408
    template = "The answer was not read as it came, and was ended."


class QuarantinedError(OrionError):
    """This request ended the process that worked on it. Facts: `minutes`, `retry_after_s`."""

    code = "quarantined"
    status = 422
    template = (
        "This message ended the process that worked on it more than once, so it is refused "
        "for {minutes} min. Change the message and ask again."
    )


class FaultsOffError(OrionError):
    """Faults are injected only where the server was started for it."""

    code = "faults_off"
    status = 403
    template = "This server injects no faults; start it with ORION_FAULTS=1 to allow it."

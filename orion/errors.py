"""Every exception ORION raises on purpose.

OrionError                        orion                500
├── InvalidQueryError             invalid_query        400
│   ├── UnknownAgentError         unknown_agent        404
│   ├── ContextTooLongError       context_too_long     400
│   └── TooLargeError             too_large            413
├── UnauthorizedError             unauthorized         401
├── OverloadedError               overloaded           503  retryable
├── ShuttingDownError             shutting_down        503  retryable
├── CancelledError                cancelled            499
├── DeadlineExceededError         deadline             504  retryable
├── SlowReaderError               slow_reader          408
├── QuarantinedError              quarantined          422
├── FaultsOffError                faults_off           403
├── AgentUnavailableError         agent_unavailable    503  retryable
│   ├── NotServableError          not_servable         404
│   ├── CircuitOpenError          circuit_open         503  retryable
│   │   └── AgentPausedError      agent_paused         503  retryable
│   └── AgentLoadError            load_failed          503  retryable
│       ├── WeightsMissingError   weights_missing      500
│       └── BadWeightsError       bad_weights          500
├── GenerationError               generation_failed    500  retryable
│   ├── OutOfMemoryError          out_of_memory        500  retryable
│   ├── EmptyAnswerError          empty_answer         500  retryable
│   └── WorkerDiedError           worker_died          500  retryable
│       └── WorkerHungError       worker_hung          500  retryable
├── RegistryError                 bad_registry         500  (start-up only)
├── HomeNotWritableError          home_not_writable    500
├── PortTakenError                port_taken           500  (start-up only)
├── CannotListenError             cannot_listen        500  (start-up only)
├── BreakerConfigError            breaker_config       500
├── BreakerMisuseError            breaker_misuse       500
│   └── IllegalTransitionError    illegal_transition   500
└── ConversionError               conversion_failed    500  (offline tools)

Facts travel as keyword arguments and become attributes; the message is made from
them, so an error survives the pipe between two processes as `code` plus `facts`.
"""

from __future__ import annotations

from typing import Any, ClassVar


class OrionError(Exception):
    """Base of the tree; catch this at the edge (page, API, CLI), nothing wider.

    Attributes:
        code: Stable, low-cardinality label used in logs, metrics and answers.
        status: HTTP status the faces answer with.
        retryable: Whether the same request may succeed later, unchanged.
        facts: What happened, as plain values; also reachable as attributes.
        partial_text: What had been written when an answer failed, for callers who get it whole.
    """

    code: ClassVar[str] = "orion"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    template: ClassVar[str] = "Something went wrong inside ORION."

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.facts = facts
        self.partial_text = ""

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        try:
            return facts[name]
        except KeyError:
            msg = f"{type(self).__name__} has no fact {name!r}"
            raise AttributeError(msg) from None

    @property
    def public_message(self) -> str:
        """A sentence a person can act on: no path, no prompt, no traceback."""
        return self.template.format_map(_Blank(self.facts))

    def __str__(self) -> str:
        return self.public_message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.facts))


class _Blank(dict[str, Any]):
    """Missing facts read as "?", so that making a message never raises."""

    def __missing__(self, key: str) -> str:
        return "?"


def _rebuild(cls: type[OrionError], facts: dict[str, Any]) -> OrionError:
    return cls(**facts)


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


class AgentUnavailableError(OrionError):
    """The agent cannot answer now. Facts: `agent`, `reason`."""

    code = "agent_unavailable"
    status = 503
    retryable = True
    template = "{agent} cannot answer now: {reason}."


class NotServableError(AgentUnavailableError):
    """No variant of the model may be served here, now or later. Facts: `agent`, `reason`."""

    code = "not_servable"
    status = 404
    retryable = False
    template = "{agent} cannot be served here: {reason}."


class CircuitOpenError(AgentUnavailableError):
    """A breaker refuses: it failed too often. Facts: `agent`, `cause` (a code), `retry_after_s`."""

    code = "circuit_open"
    template = (
        "{agent} is paused after failures ({cause}). It is tried again in {retry_after_s:.0f} s."
    )

    def __init__(self, *, agent: str, cause: str, retry_after_s: float) -> None:
        super().__init__(agent=agent, cause=cause, retry_after_s=float(retry_after_s))


class AgentPausedError(CircuitOpenError):
    """Somebody paused it, until somebody resets it. Facts as those of `CircuitOpenError`."""

    code = "agent_paused"
    template = "{agent} has been paused by the operator."

    def __init__(
        self, *, agent: str, cause: str = "forced_open", retry_after_s: float = 3600.0
    ) -> None:
        super().__init__(agent=agent, cause=cause, retry_after_s=retry_after_s)


class AgentLoadError(AgentUnavailableError):
    """The model could not be loaded. Facts: `model`, `reason`."""

    code = "load_failed"
    template = "The model {model} could not be loaded: {reason}."


class WeightsMissingError(AgentLoadError):
    """A file of the model is not on this machine. Facts: `model`, `file`, `hint`."""

    code = "weights_missing"
    status = 500
    retryable = False
    template = "The model {model} is not on this machine ({file} is missing). {hint}"


class BadWeightsError(AgentLoadError):
    """A file is not the one the registry names.

    Facts: `model`, `file`, `expected`, `got` (a size or a sha256).
    """

    code = "bad_weights"
    status = 500
    retryable = False
    template = (
        "The file {file} of {model} is not the one in models.json: expected {expected}, "
        "got {got}. It was not loaded; fetch it again."
    )


class GenerationError(OrionError):
    """The model failed while answering. Facts: `reason`."""

    code = "generation_failed"
    retryable = True
    template = "The model failed while answering: {reason}."


class OutOfMemoryError(GenerationError):
    """The worker had no memory left for this answer. Facts: `reason`."""

    code = "out_of_memory"
    template = "The model ran out of memory while answering: {reason}."


class EmptyAnswerError(GenerationError):
    """The model ended its turn without a word. Facts: `model`."""

    code = "empty_answer"
    template = "The model {model} gave an empty answer."


class WorkerDiedError(GenerationError):
    """The worker process ended. Facts: `model`, `exit_code`, `detail` (logs only)."""

    code = "worker_died"
    template = "The process running {model} ended unexpectedly (exit code {exit_code})."


class WorkerHungError(WorkerDiedError):
    """The worker stopped responding and was ended. Facts: `model`, `silent_s`."""

    code = "worker_hung"
    template = "The process running {model} did not respond for {silent_s} s and was ended."


class RegistryError(OrionError):
    """`models.json` is refused. Facts: `path` (JSON path), `reason`, `file`."""

    code = "bad_registry"
    template = "{file}: {path}: {reason}"


class HomeNotWritableError(OrionError):
    """ORION_HOME cannot be written to. Facts: `home`, `reason`."""

    code = "home_not_writable"
    template = "ORION_HOME cannot be written to: {reason}. Point ORION_HOME elsewhere."


class PortTakenError(OrionError):
    """Another program listens there. Facts: `host`, `port`."""

    code = "port_taken"
    template = "Port {port} on {host} is taken. Choose another with --port or ORION_PORT."


class CannotListenError(OrionError):
    """The address cannot be listened on. Facts: `host`, `port`, `reason`."""

    code = "cannot_listen"
    template = "Cannot listen on {host}, port {port}: {reason}. See --host and --port."


class BreakerConfigError(OrionError):
    """A breaker cannot be set up like that. Facts: `field`, `reason`."""

    code = "breaker_config"
    template = "The breaker's `{field}` {reason}."


class BreakerMisuseError(OrionError):
    """A breaker was used as it must not be. Facts: `breaker`, `reason`."""

    code = "breaker_misuse"
    template = "The breaker {breaker} {reason}."


class IllegalTransitionError(BreakerMisuseError):
    """A breaker cannot go there from where it is. Facts: `breaker`, `source`, `target`."""

    code = "illegal_transition"
    template = "The breaker {breaker} cannot go from {source} to {target}."


class ConversionError(OrionError):
    """A checkpoint could not be converted. Facts: `source`, `reason`."""

    code = "conversion_failed"
    template = "{source} could not be converted: {reason}."


def error_classes() -> dict[str, type[OrionError]]:
    """Every class of the tree by its code."""
    found: dict[str, type[OrionError]] = {}
    pending: list[type[OrionError]] = [OrionError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found


def error_from_wire(code: str, facts: dict[str, Any]) -> OrionError:
    """The error a child described; an unknown code or odd facts give `GenerationError`."""
    cls = error_classes().get(code)
    if cls is None:
        return GenerationError(reason=str(facts.get("reason", code)))
    try:
        return cls(**facts)
    except (TypeError, ValueError):
        return GenerationError(reason=code)

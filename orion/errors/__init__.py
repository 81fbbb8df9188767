"""Every exception ORION raises on purpose.

OrionError                        orion                500
├── InvalidQueryError             invalid_query        400
│   ├── UnknownAgentError         unknown_agent        404
│   ├── ContextTooLongError       context_too_long     400
│   └── TooLargeError             too_large            413
├── UnauthorizedError             unauthorized         401
├── OverloadedError               overloaded           503  retryable
│   ├── BacklogError              backlog              503  retryable
│   └── TooLateError              too_late             503  retryable
├── TooManyRequestsError          too_many_requests    429  retryable
├── ShuttingDownError             shutting_down        503  retryable
├── CancelledError                cancelled            499
├── DeadlineExceededError         deadline             504  retryable
├── SlowReaderError               slow_reader          408
├── QuarantinedError              quarantined          422
├── FaultsOffError                faults_off           403
├── AgentUnavailableError         agent_unavailable    503  retryable
│   ├── NotServableError          not_servable         404
│   │   └── ModelTooLargeError    model_too_large      404
│   ├── NoRoomError               no_room              503  retryable
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
├── RegistryError                 bad_registry         500  (start-up and reload)
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

from orion.errors.agents import (
    AgentLoadError,
    AgentPausedError,
    AgentUnavailableError,
    BadWeightsError,
    CircuitOpenError,
    EmptyAnswerError,
    GenerationError,
    ModelTooLargeError,
    NoRoomError,
    NotServableError,
    OutOfMemoryError,
    WeightsMissingError,
    WorkerDiedError,
    WorkerHungError,
)
from orion.errors.base import OrionError
from orion.errors.parts import (
    BreakerConfigError,
    BreakerMisuseError,
    CannotListenError,
    ConversionError,
    HomeNotWritableError,
    IllegalTransitionError,
    PortTakenError,
    RegistryError,
)
from orion.errors.requests import (
    BacklogError,
    CancelledError,
    ContextTooLongError,
    DeadlineExceededError,
    FaultsOffError,
    InvalidQueryError,
    OverloadedError,
    QuarantinedError,
    ShuttingDownError,
    SlowReaderError,
    TooLargeError,
    TooLateError,
    TooManyRequestsError,
    UnauthorizedError,
    UnknownAgentError,
)
from orion.errors.wire import error_classes, error_from_wire

__all__ = [
    "AgentLoadError",
    "AgentPausedError",
    "AgentUnavailableError",
    "BacklogError",
    "BadWeightsError",
    "BreakerConfigError",
    "BreakerMisuseError",
    "CancelledError",
    "CannotListenError",
    "CircuitOpenError",
    "ContextTooLongError",
    "ConversionError",
    "DeadlineExceededError",
    "EmptyAnswerError",
    "FaultsOffError",
    "GenerationError",
    "HomeNotWritableError",
    "IllegalTransitionError",
    "InvalidQueryError",
    "ModelTooLargeError",
    "NoRoomError",
    "NotServableError",
    "OrionError",
    "OutOfMemoryError",
    "OverloadedError",
    "PortTakenError",
    "QuarantinedError",
    "RegistryError",
    "ShuttingDownError",
    "SlowReaderError",
    "TooLargeError",
    "TooLateError",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnknownAgentError",
    "WeightsMissingError",
    "WorkerDiedError",
    "WorkerHungError",
    "error_classes",
    "error_from_wire",
]

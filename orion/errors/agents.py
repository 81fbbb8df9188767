"""What keeps an agent from answering, or ends its answer."""

from __future__ import annotations

from orion.errors.base import OrionError


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


class ModelTooLargeError(NotServableError):
    """It would not fit if nothing else were here. Facts: `agent`, `need_gb`, `have_gb`."""

    code = "model_too_large"
    template = (
        "{agent} does not fit on this machine: it needs {need_gb:.1f} GB of memory and there are "
        "{have_gb:.1f} GB for models."
    )


class NoRoomError(AgentUnavailableError):
    """There is no place for its model, and none can be made. Facts: `agent`, `reason`."""

    code = "no_room"
    template = "There is no room for {agent} now: {reason}."


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

"""Start-up configuration: the only module that reads the environment."""

from __future__ import annotations

import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

PACKAGE_ROOT = Path(__file__).resolve().parent.parent


class RuntimeChoice(StrEnum):
    """Which runtime serves a model that has a variant for several."""

    AUTO = "auto"
    LLAMACPP = "llamacpp"
    TRANSFORMERS = "transformers"


class ProfileChoice(StrEnum):
    """The kind of machine to behave as; `auto` looks."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"
    ZEROGPU = "zerogpu"


class ExecutorChoice(StrEnum):
    """Where a runtime runs."""

    SPAWN = "spawn"
    INPROCESS = "inprocess"


class LogFormat(StrEnum):
    """How log lines look; `auto` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(_Group):
    """What the door refuses before anything is tokenised."""

    body_bytes: int = Field(2_000_000, ge=1024, description="HTTP body of one request.")
    message_chars: int = Field(64_000, ge=1, description="One message.")
    total_chars: int = Field(  # four bytes each still fit in one frame to the worker
        256_000, ge=1, le=4_000_000, description="All messages of one request."
    )
    messages: int = Field(200, ge=1, description="Messages in one request.")
    max_tokens: int = Field(4096, ge=1, description="Largest `max_tokens` a caller may ask for.")


class StreamSettings(_Group):
    """How often a streamed answer speaks."""

    interval_s: float = Field(
        0.03, ge=0, le=1, description="Pieces closer together than this travel as one."
    )
    heartbeat_s: float = Field(
        0.25, gt=0, le=0.5, description="Longest silence while a caller waits for text."
    )
    buffer_bytes: int = Field(
        262_144, ge=1024, description="Text of one answer that may wait to be read."
    )


class DeadlineSettings(_Group):
    """After how long a wait is given up."""

    request_s: Seconds = Field(
        300.0, description="For one request in all: queue, loads, fallbacks, answer."
    )
    load_s: Seconds = Field(60.0, description="Without progress of a load.")
    generate_s: Seconds = Field(90.0, description="For one answer, from its grant.")
    heartbeat_s: Seconds = Field(
        2.0, description="Silence of a worker after which it is ended, unless it is at work."
    )
    stall_s: Seconds = Field(
        10.0, description="An answer without a token while its worker does nothing."
    )
    stop_s: Seconds = Field(
        0.7, description="For a worker to obey a stop, before it is ended (if nobody else uses it)."
    )
    reader_s: Seconds = Field(
        30.0, description="For a caller to take what has come, once its buffer is full."
    )


class WorkerSettings(_Group):
    """What one worker process is given."""

    slots: int = Field(
        4, ge=1, le=64, description="Answers at once per model; fewer where memory is short."
    )
    context_tokens: int = Field(4096, ge=256, description="Context of each slot.")
    threads: int | None = Field(None, ge=1, description="Compute threads; None: all cores.")
    spares: int = Field(1, ge=0, le=4, description="Workers kept warm with imports done.")
    kv_bytes: int = Field(
        512 * 1024**2, ge=0, description="Attention states kept of conversations that pause."
    )
    growth_bytes: int = Field(
        2 * 1024**3,
        ge=1024**2,
        description="Growth after the load at which a worker is renewed; ended at twice that.",
    )


class QueueSettings(_Group):
    """Who waits, and in which order."""

    tokens: int = Field(
        65_536, ge=1, description="Prompt tokens (estimated) that may wait; one request always may."
    )
    client_share: float = Field(
        0.5, gt=0, le=1, description="Of a busy system, what one client may hold."
    )
    turn_max: int = Field(
        16, ge=1, description="Answers of one model in a row while others wait for its place."
    )
    patience_s: Seconds = Field(
        15.0, description="Who waits longer gets a place whose model had it as long."
    )


class MemorySettings(_Group):
    """Which models stay in memory, and for how long."""

    budget_bytes: int | None = Field(
        None, ge=1, description="For all resident models; unset: what the machine has free."
    )
    reserve_bytes: int = Field(
        256 * 1024**2, ge=0, description="Left free beside the models, for everything else."
    )
    keep_alive_s: float = Field(
        -1.0,
        allow_inf_nan=False,
        description="Idle time after which a model leaves; negative: never, 0: at once.",
    )
    caller_keep_alive: bool = Field(
        True, description="Callers may set `keep_alive` with a request."
    )
    pinned: tuple[str, ...] = Field(
        (), description="Agents or models that leave memory only when asked to."
    )


class AnswerCacheSettings(_Group):
    """Answers given again to the same question in the same session."""

    enabled: bool = Field(True, description="Off: every question is answered anew.")
    public: bool = Field(
        False, description="Single questions without a history are shared between sessions."
    )
    entries: int = Field(1000, ge=1, description="Answers kept at most.")
    size_bytes: int = Field(16 * 1024**2, ge=1024, description="Memory for them.")
    ttl_s: Seconds = Field(3600.0, description="For how long one is given again.")


class PredictionSettings(_Group):
    """Loading a model before it is asked for."""

    enabled: bool = Field(True, description="Off: a model is loaded when it is asked for.")
    drafts: bool = Field(True, description="The page sends what is being typed, to be routed.")
    confidence: float = Field(
        0.5, gt=0, le=1, description="Probability of the next agent from which its model is loaded."
    )
    window: int = Field(
        20, ge=4, description="Latest predictions by which it is judged, and switched off."
    )


class BreakerSettings(_Group):
    """When an agent or a model is paused, and for how long."""

    enabled: bool = Field(True, description="Off: nothing is ever refused by a breaker.")
    failures: int = Field(3, ge=1, description="Failures in a row that open it.")
    window_s: Seconds = Field(60.0, description="Span over which rates are taken.")
    minimum_calls: int = Field(10, ge=1, description="Calls in the span for a rate to count.")
    failure_rate: float = Field(0.5, gt=0, le=1, description="Share of failures that opens it.")
    slow_rate: float = Field(0.8, gt=0, le=1, description="Share of slow answers that opens it.")
    slow_ttft_s: Seconds = Field(45.0, description="From the grant to the first text: slow above.")
    slow_gap_s: Seconds = Field(10.0, description="Between two pieces of text: slow above.")
    break_s: Seconds = Field(30.0, description="First break.")
    break_max_s: Seconds = Field(300.0, description="Longest break; each one doubles.")
    jitter: float = Field(0.1, ge=0, lt=1, description="Share by which a break varies.")
    trials: int = Field(1, ge=1, description="Calls let through after a break.")


class QuarantineSettings(_Group):
    """Messages under which workers died."""

    deaths: int = Field(2, ge=1, description="Deaths after which a message is refused.")
    span_s: Seconds = Field(3600.0, description="For how long.")


class LogSettings(_Group):
    """Log lines go to stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Lines below this are dropped."
    )
    format: LogFormat = Field(
        LogFormat.AUTO, description="`auto` is text on a terminal and JSON elsewhere."
    )


def _default_home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "orion"
    try:
        return Path.home() / ".cache" / "orion"
    except RuntimeError:  # no home directory for this user
        return Path(tempfile.gettempdir()) / "orion"


def _default_registry() -> Path:
    here = Path("models.json")
    return here if here.is_file() else PACKAGE_ROOT / "models.json"


class Settings(BaseSettings):
    """Everything that can be chosen at start; frozen afterwards.

    Precedence: keyword > environment (`ORION_WORKER__SLOTS=8`) > default.

    Raises:
        pydantic.ValidationError: A value is out of range or a keyword unknown.
    """

    model_config = SettingsConfigDict(
        env_prefix="ORION_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    home: Path = Field(
        default_factory=_default_home, description="Imported checkpoints, memos, measurements."
    )
    registry: Path = Field(default_factory=_default_registry, description="The model registry.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(7860, ge=0, le=65535, description="Port; 0 takes a free one.")
    root_path: str = Field("", description="Path prefix behind a reverse proxy.")
    admin_token: SecretStr | None = Field(None, description="Opens the admin endpoints.")
    workers: int = Field(1, ge=1, le=16, description="Models resident at once.")
    queue_max: int = Field(16, ge=0, description="Waiting requests before refusing.")
    runtime: RuntimeChoice = Field(RuntimeChoice.AUTO, description="Preferred runtime.")
    profile: ProfileChoice = Field(ProfileChoice.AUTO, description="Kind of machine.")
    executor: ExecutorChoice = Field(ExecutorChoice.SPAWN, description="Where models run.")
    runtime_class: str | None = Field(
        None, description="`module:Class` to run instead of the chosen runtime (tests)."
    )
    runtime_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Handed to the runtime by its name (JSON)."
    )
    preload: bool = Field(True, description="`serve` loads the default model at start.")
    grace_s: float = Field(
        10.0, ge=0, allow_inf_nan=False, description="For answers under way at shutdown."
    )
    faults: bool = Field(False, description="The admin may inject faults (tests, shows).")
    limits: LimitSettings = LimitSettings()
    stream: StreamSettings = StreamSettings()
    deadline: DeadlineSettings = DeadlineSettings()
    queue: QueueSettings = QueueSettings()
    memory: MemorySettings = MemorySettings()
    answer_cache: AnswerCacheSettings = AnswerCacheSettings()
    prediction: PredictionSettings = PredictionSettings()
    breaker: BreakerSettings = BreakerSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()


_PASSED_ON = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "TMP",
        "TEMP",
        "VIRTUAL_ENV",
        "SYSTEMROOT",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "DYLD_LIBRARY_PATH",
        "HF_HOME",
        "TORCH_HOME",
        "SPACE_ID",
        "SPACES_ZERO_GPU",
        "CPU_CORES",
        "MEMORY",
    ]
)
_PASSED_ON_PREFIXES = (
    *("LC_", "XDG_", "PYTHON", "COVERAGE_", "COV_", "OMP_", "GOMP_", "KMP_", "MKL_"),
    *("OPENBLAS_", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "GGML_", "PYTORCH_"),
)


def quiet_environment() -> None:
    """Switch off, for this process and its children, every habit of calling home.

    Called once by the entry points before any library is imported.
    """
    for name, value in CHILD_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def gradio_files_in(directory: Path) -> None:
    """Have Gradio keep its files in `directory`, unless it was told where.

    Called before it is imported; by itself it uses one place for all its apps.
    """
    os.environ.setdefault("GRADIO_TEMP_DIR", str(directory))


CHILD_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def worker_environment() -> dict[str, str]:
    """The environment of a worker: what a program needs to run, no secrets, and offline.

    A list of what passes, not of what does not: secrets have no common name.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return {**kept, **CHILD_ENVIRONMENT, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def yield_between_kernels() -> None:
    """Have OpenMP threads wait only briefly before they sleep.

    Call it before the library that brings OpenMP is imported.
    A decoded token is hundreds of small parallel loops. By default a thread that waits
    for the next one spins on the core that the others need: with anything else running
    on the machine, decoding was measured 5 to 20 times slower.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def space_environment() -> dict[str, str]:
    """The variables by which a Space and a container describe themselves, where set."""
    names = (
        "SPACE_ID",
        "SPACES_ZERO_GPU",
        "SPACE_HARDWARE",
        "CPU_CORES",
        "MEMORY",
        "CUDA_VISIBLE_DEVICES",
    )
    return {name: os.environ[name] for name in names if name in os.environ}

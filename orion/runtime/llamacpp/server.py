"""llama.cpp's server in this process: its file checked and read, its settings, its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.errors import AgentLoadError
from orion.registry import HashMemo, Variant, locate, verify
from orion.runtime.failure import is_out_of_memory
from orion.runtime.llamacpp.vault import SAVE_PATH, can_keep_states
from orion.runtime.prompt import ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orion.runtime.base import LoadSpec, Progress
    from orion.runtime.gguf_header import GgufHeader

_SLICE_BYTES = 12.8e9
_SLICE_MIN_TOKENS = 64
_SLICE_MAX_TOKENS = 512
_READ_BYTES = 4 << 20


def verified_file(spec: LoadSpec, progress: Progress) -> Path:
    """The weights, every byte of them checked.

    Raises:
        WeightsMissingError: The file is not here.
        BadWeightsError: It is not the file the registry names.
    """
    variant = Variant.model_validate(spec.variant, strict=False)
    found = locate(spec.home, spec.model, variant)
    memo = HashMemo(spec.home / "verified")
    total = variant.size_bytes
    for entry in variant.files:
        verify(
            spec.model,
            entry,
            found[entry.path],
            memo=memo,
            progress=lambda count: progress("verifying", min(1.0, count / total)),
        )
    return found[variant.files[0].path]


def chat_template(model: str, header: GgufHeader) -> ChatTemplate:
    """The template in the file.

    Raises:
        AgentLoadError: There is none, or it cannot be used.
    """
    source = header.chat_template
    if not source:
        raise AgentLoadError(model=model, reason="the file holds no chat template")
    return ChatTemplate(
        source, bos_token=header.token_text("bos"), eos_token=header.token_text("eos")
    )


def read_ahead(path: Path, report: Callable[[float], None]) -> None:
    """Bring the file into the page cache, and tell how far that is; a twentieth at a time.

    llama.cpp holds the interpreter's lock for all of its load, so that no heartbeat gets
    out; on a slow disk that would look like a hang. From the cache this costs 0.1 s a GB.
    """
    size = path.stat().st_size
    buffer = bytearray(_READ_BYTES)
    done = told = 0
    report(0.0)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            done += count
            if done - told > size / 20:
                told = done
                report(min(1.0, done / size))


def prefill_slice(file_bytes: int, threads: int) -> int:
    """Prompt tokens to compute at a stretch: at most about a second of work, a power of two.

    llama.cpp looks up between two such slices only: for a stop, and for the tokens that
    its other slots are waiting for.
    """
    wanted = max(1, int(_SLICE_BYTES * threads / max(1, file_bytes)))
    power = 1 << (wanted.bit_length() - 1)
    return max(_SLICE_MIN_TOKENS, min(_SLICE_MAX_TOKENS, power))


def start_server(path: Path, spec: LoadSpec, context_tokens: int, key: str) -> Any:
    """The server with the weights in it; its port asks for `key`.

    Raises:
        AgentLoadError: llama.cpp refuses the file, or memory is short.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = context_tokens * spec.slots
    params.n_parallel = spec.slots
    params.n_batch = prefill_slice(path.stat().st_size, spec.threads)
    params.cpuparams.n_threads = spec.threads
    params.cpuparams_batch.n_threads = spec.threads
    params.api_keys = [key]
    params.hostnames = ["127.0.0.1"]
    params.n_threads_http = spec.slots + 1  # a connection kept open holds one
    _keep_slots_apart(params)
    params.endpoint_props = False
    params.endpoint_slots = False
    params.warmup = False
    params.fit_params = False  # placement has decided; fitting costs 0.14 s
    params.verbosity = -1
    for name, value in spec.options.get("llamacpp", {}).items():
        setattr(params, name, value)
    try:
        return xllamacpp.Server(params)
    except Exception as error:
        if is_out_of_memory(error):
            raise AgentLoadError(model=spec.model, reason="not enough memory") from error
        reason = f"llama.cpp refuses the file ({type(error).__name__})"
        raise AgentLoadError(model=spec.model, reason=reason) from error


def _keep_slots_apart(params: Any) -> None:
    """Switch off every way in which a prompt meets the tokens of another slot."""
    params.slot_prompt_similarity = 0.0
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.kv_unified = False
    params.n_cache_reuse = 0
    if can_keep_states():
        params.slot_save_path = SAVE_PATH

"""GGUF files through llama.cpp (xllamacpp): CPU first, several answers at once in slots."""

from __future__ import annotations

import http.client
import importlib
import json
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orion.errors import AgentLoadError, GenerationError
from orion.registry import HashMemo, Variant, locate, verify
from orion.runtime.base import LoadedModel
from orion.runtime.completion import Completion
from orion.runtime.failure import is_out_of_memory
from orion.runtime.gguf_header import read_header
from orion.runtime.prompt import ChatTemplate, PromptBuilder
from orion.settings import yield_between_kernels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orion.runtime.base import Generated, Job, LoadSpec, Output, Progress
    from orion.runtime.gguf_header import GgufHeader

_SLICE_BYTES = 12.8e9
_SLICE_MIN_TOKENS = 64
_SLICE_MAX_TOKENS = 512
_READ_BYTES = 4 << 20


class LlamaTokenizer:
    """The loaded model's own tokenizer, asked over the server's loopback port.

    xllamacpp exposes it nowhere else; the port is guarded by a key of 256 bits.
    """

    def __init__(self, address: str, key: str, control_ids: frozenset[int]) -> None:
        self._netloc = urlsplit(address).netloc
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._control_ids = control_ids
        self._local = threading.local()

    @property
    def control_ids(self) -> frozenset[int]:
        """Every token that is not plain text."""
        return self._control_ids

    def encode_control(self, text: str) -> list[int]:
        """Token ids of template text: control tokens are recognised."""
        return self._encode(text, parse_special=True)

    def encode_content(self, text: str) -> list[int]:
        """Token ids of what people wrote: never a control token."""
        return self._encode(text, parse_special=False)

    def _encode(self, text: str, *, parse_special: bool) -> list[int]:
        body = json.dumps(
            {"content": text, "add_special": False, "parse_special": parse_special}
        ).encode()
        try:
            answer = self._post(body)
        except (OSError, http.client.HTTPException):
            self._local.connection = None  # an idle connection was closed: once more, fresh
            try:
                answer = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                raise GenerationError(reason="the tokenizer does not answer") from error
        return [int(token) for token in answer["tokens"]]

    def _post(self, body: bytes) -> dict[str, Any]:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._netloc, timeout=10)
            self._local.connection = connection
        connection.request("POST", "/tokenize", body=body, headers=self._headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


class LlamaCppRuntime:
    """One GGUF model in an in-process llama.cpp server."""

    name = "llamacpp"

    def __init__(self) -> None:
        self._server: Any = None
        self._prompts: PromptBuilder | None = None
        self._context_tokens = 0

    def warm_up(self) -> None:
        """Import the library and the template engine."""
        yield_between_kernels()
        for name in ("jinja2.sandbox", "xllamacpp"):
            importlib.import_module(name)

    def load(self, spec: LoadSpec, progress: Progress) -> LoadedModel:
        """Check the file, map it, and build the prompt machinery around it.

        Raises:
            WeightsMissingError: The file is not here.
            BadWeightsError: It is not the file the registry names.
            AgentLoadError: llama.cpp refuses it.
        """
        path = _verified_file(spec, progress)
        progress("initializing", None)
        header = read_header(path)
        key = secrets.token_hex(32)
        context_tokens = min(
            spec.context_tokens, int(header.scalars.get("llama.context_length", 1 << 30))
        )
        read_ahead(path, lambda ratio: progress("loading_shard", ratio))
        self._server = _start_server(path, spec, context_tokens, key)
        progress("completing", 1.0)
        self._context_tokens = context_tokens
        tokenizer = LlamaTokenizer(
            self._server.listening_address, key, frozenset(header.special_tokens)
        )
        self._prompts = PromptBuilder(_template(spec.model, header), tokenizer)
        return LoadedModel(
            slots=spec.slots,
            context_tokens=context_tokens,
            details={
                "threads": spec.threads,
                "file_bytes": path.stat().st_size,
                "slice_tokens": prefill_slice(path.stat().st_size, spec.threads),
            },
        )

    def generate(self, job: Job, output: Output) -> Generated:
        """Answer one conversation in a free slot."""
        assert self._prompts
        prompt = self._prompts.build(
            job.messages,
            context_tokens=self._context_tokens,
            max_tokens=job.sampling.max_tokens,
            trim_history=job.trim_history,
        )
        output.started(prompt_tokens=len(prompt.ids), trimmed_messages=prompt.trimmed_messages)
        completion = Completion(output, prompt_tokens=len(prompt.ids))
        if not output.stopped:
            self._server.handle_completions(
                _parameters(job, prompt.ids, self._context_tokens), completion.on_chunk
            )
        made = completion.generated()
        time.sleep(completion.settle_s)
        return made

    def close(self) -> None:
        """Nothing outlives the process."""


def _verified_file(spec: LoadSpec, progress: Progress) -> Path:
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


def _template(model: str, header: GgufHeader) -> ChatTemplate:
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


def _start_server(path: Path, spec: LoadSpec, context_tokens: int, key: str) -> Any:
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
    params.n_threads_http = 2
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


def _parameters(job: Job, ids: list[int], context_tokens: int) -> dict[str, Any]:
    sampling = job.sampling
    made: dict[str, Any] = {
        "prompt": ids,
        "stream": True,
        "return_progress": True,  # one chunk per slice of prefill: where a stop can be heard
        # A prompt found in the cache may round differently from one computed in one batch;
        # a seed asks for the same answer again, so nothing is taken over.
        "cache_prompt": sampling.seed is None,
        "n_predict": min(sampling.max_tokens, context_tokens - len(ids)),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
    }
    if sampling.seed is not None:
        made["seed"] = sampling.seed
    return made

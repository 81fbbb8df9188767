"""GGUF → a safetensors checkpoint that `from_pretrained` loads."""

from __future__ import annotations

import gc
import shutil
import time
from typing import TYPE_CHECKING, Any

from orion.errors import ConversionError, OrionError
from orion.pipeline.gguf_tokenizer import read_tokenizer
from orion.pipeline.quiet import silence, tensors_as_progress
from orion.registry.files import HashMemo
from orion.registry.manifest import (
    MANIFEST,
    derived_folder,
    read_manifest,
    source_of,
    verify_folder,
)
from orion.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orion.registry.manifest import SourceFile

    Progress = Callable[[str, float | None], None]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SPARE_BYTES = 32 * 1024 * 1024


def no_progress(phase: str, ratio: float | None) -> None:
    """Report to nobody."""


def import_gguf(source: Path, out: Path, *, progress: Progress = no_progress) -> dict[str, Any]:
    """Make a checkpoint folder `out` from the GGUF file `source`.

    Weights are stored in float16: the quantised values (a float16 scale times a small
    integer) lose next to nothing in it, while bfloat16 moves the loss after a 4-bit
    quantisation by 0.01 nats. Where a value does not fit, bfloat16 is taken.

    Args:
        source: A GGUF file of an architecture that transformers knows.
        out: A folder that does not exist or is empty, or this very import finished.
        progress: Called with the phase `importing` and a ratio in [0, 1].

    Returns:
        `source`, `out`, `source_sha256`, `dtype`, `parameters`, `bytes`, `seconds`, and
        `already`: whether it was there before.

    Raises:
        ConversionError: No readable GGUF file, another model is at `out`, the disk is full.
        HomeNotWritableError: The place of `out` cannot be written to.
    """
    begun_s = time.monotonic()
    _check_is_gguf(source)
    identity = source_of(source)
    if out.exists() and _is_taken(out):
        return {**_already(source, out, identity), "seconds": time.monotonic() - begun_s}
    progress("importing", 0.0)
    try:
        made = _convert(source, out, identity, progress)
    except OrionError:
        raise
    except MemoryError as error:
        raise ConversionError(source=source.name, reason="not enough memory") from error
    except Exception as error:
        reason = f"it cannot be read ({type(error).__name__}: {str(error)[:200]})"
        raise ConversionError(source=source.name, reason=reason) from error
    return {
        "source": str(source),
        "out": str(out),
        "source_sha256": identity.sha256,
        **made,
        "already": False,
        "seconds": time.monotonic() - begun_s,
    }


def _check_is_gguf(source: Path) -> None:
    try:
        with source.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConversionError(source=source.name, reason=reason) from error
    if head[:4] != _MAGIC:
        raise ConversionError(source=source.name, reason="it is not a GGUF file")
    if int.from_bytes(head[4:8], "little") not in _VERSIONS:
        raise ConversionError(source=source.name, reason="its GGUF version is not supported")


def _is_taken(out: Path) -> bool:
    return not out.is_dir() or any(out.iterdir())


def _already(source: Path, out: Path, identity: SourceFile) -> dict[str, Any]:
    manifest = read_manifest(out) if out.is_dir() else None
    if manifest is None or manifest.source.sha256 != identity.sha256:
        reason = f"{out.name} exists and holds something else"
        raise ConversionError(source=identity.name, reason=reason)
    try:
        verify_folder(out.name, out, memo=HashMemo(out / MANIFEST), source_sha256=identity.sha256)
    except OrionError as error:
        reason = f"{out.name} holds a damaged earlier import; remove it first"
        raise ConversionError(source=identity.name, reason=reason) from error
    return {
        "source": str(source),
        "out": str(out),
        "source_sha256": identity.sha256,
        "dtype": manifest.facts.get("dtype", "?"),
        "parameters": int(manifest.facts.get("parameters", 0)),
        "bytes": sum(file.size_bytes for file in manifest.files),
        "already": True,
    }


def _convert(source: Path, out: Path, identity: SourceFile, progress: Progress) -> dict[str, Any]:
    facts: dict[str, str] = {"tool": "import-gguf 1"}
    with derived_folder(out, source=identity, facts=facts) as folder:
        silence()
        tokenizer = read_tokenizer(source)
        progress("importing", 0.3)
        model = _read_model(source, lambda ratio: progress("importing", 0.4 + 0.4 * ratio))
        config, state, dtype = _as_checkpoint(model)
        del model
        gc.collect()
        parameters = sum(tensor.numel() for tensor in state.values())
        _check_room(folder, identity.name, parameters * 2 + _SPARE_BYTES)
        _save(config, state, folder)
        tokenizer.save_pretrained(folder)
        facts |= {"dtype": dtype, "parameters": str(parameters)}
        progress("importing", 0.9)
    progress("importing", 1.0)
    size_bytes = sum(path.stat().st_size for path in out.iterdir())
    return {"dtype": dtype, "parameters": parameters, "bytes": size_bytes}


def _read_model(source: Path, report: Callable[[float], None]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with tensors_as_progress(report):
        return AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
        )


def _as_checkpoint(model: Any) -> tuple[Any, dict[str, Any], str]:
    """Config without GGUF traces, and the weights in the dtype they are stored in."""
    import torch

    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    tied = set(model.all_tied_weights_keys) if config.tie_word_embeddings else set()
    limit = torch.finfo(torch.float16).max
    full = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    fits = all(float(tensor.abs().max()) < limit for tensor in full.values())
    dtype = torch.float16 if fits else torch.bfloat16
    config.dtype = dtype
    state = {name: tensor.to(dtype) for name, tensor in full.items()}
    return config, state, str(dtype).removeprefix("torch.")


def _check_room(folder: Path, source: str, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        needed, free = format_bytes(needed_bytes), format_bytes(free_bytes)
        raise ConversionError(source=source, reason=f"it needs {needed} of disk; {free} are free")


def _save(config: Any, state: dict[str, Any], folder: Path) -> None:
    """Save through a model made from the config: one loaded from GGUF refuses to be saved."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    missing, unexpected = empty.load_state_dict(state, strict=False, assign=True)
    lost = set(missing) - set(empty.all_tied_weights_keys)
    if lost or unexpected:
        names = ", ".join(sorted([*lost, *unexpected])[:3])
        raise ConversionError(source=folder.name, reason=f"its tensors do not match: {names}")
    empty.tie_weights()
    empty.save_pretrained(folder)

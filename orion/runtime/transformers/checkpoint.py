"""The folder a model is loaded from: found or made, checked, and free of code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orion.errors import (
    AgentLoadError,
    BadWeightsError,
    ConversionError,
    WeightsMissingError,
)
from orion.registry import (
    FileFormat,
    HashMemo,
    ImportSource,
    Precision,
    Variant,
    imported_dir,
    locate,
    verify,
)
from orion.registry.manifest import discard, read_manifest, verify_folder
from orion.runtime.transformers.making import make_derived

if TYPE_CHECKING:
    from pathlib import Path

    from orion.runtime.base import LoadSpec, Progress

_ALLOWED_METHODS = frozenset({"bitsandbytes"})
_CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"})
_CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checked folder; `quantize` when its weights are still to be made 4-bit."""

    folder: Path
    quantize: bool


def find_checkpoint(spec: LoadSpec, progress: Progress, *, dtype: str) -> Checkpoint:
    """The checkpoint of `spec`'s variant, every byte of it checked.

    Raises:
        WeightsMissingError: A file is not on this machine.
        BadWeightsError: A file is not the one that is named, or asks for code to be run.
        AgentLoadError: The import failed.
        HomeNotWritableError: The import cannot be stored.
    """
    variant = Variant.model_validate(spec.variant, strict=False)
    progress("verifying", None)
    if isinstance(variant.source, ImportSource):
        checkpoint = _imported(spec, variant, progress, dtype=dtype)
    else:
        checkpoint = _listed(spec, variant, progress)
    refuse_code(spec.model, checkpoint.folder)
    return checkpoint


def _listed(spec: LoadSpec, variant: Variant, progress: Progress) -> Checkpoint:
    """A checkpoint whose files the registry lists: all in one folder, and nothing else."""
    if variant.format is not FileFormat.SAFETENSORS:
        reason = "the transformers runtime loads safetensors only"
        raise AgentLoadError(model=spec.model, reason=reason)
    found = locate(spec.home, spec.model, variant)
    _verify_files(spec, variant, found, progress)
    folders = {path.parent for path in found.values()}
    if len(folders) != 1:
        raise AgentLoadError(model=spec.model, reason="its files lie in several folders")
    folder = folders.pop()
    for path in folder.iterdir():
        if path not in found.values() and path.is_file() and not path.name.startswith("."):
            raise BadWeightsError(
                model=spec.model, file=path.name, expected="no such file", got="a file"
            )
    return Checkpoint(folder=folder, quantize=variant.precision is Precision.NF4)


def _imported(spec: LoadSpec, variant: Variant, progress: Progress, *, dtype: str) -> Checkpoint:
    """A checkpoint derived from a GGUF file, made at the first load.

    Its name holds the sha256 of the source, so another source is another import.
    """
    given = spec.options.get("import_from")
    if given is None:
        raise AgentLoadError(model=spec.model, reason="the variant to import from is not given")
    source = Variant.model_validate(given, strict=False)
    entry = next((file for file in source.files if file.path.endswith(".gguf")), None)
    if entry is None:
        reason = f"the variant {source.id} it is imported from has no GGUF file"
        raise AgentLoadError(model=spec.model, reason=reason)
    root = imported_dir(spec.home, spec.model, variant.id)
    base = root / entry.sha256[:16]
    nf4 = root / f"{base.name}-nf4-{dtype}" if variant.precision is Precision.NF4 else None
    folder = nf4 or base
    if read_manifest(folder) is None:
        found = locate(spec.home, spec.model, source)
        _verify_files(spec, source, found, progress)
        if read_manifest(base) is not None:
            _check_or_discard(spec, base, sha256=entry.sha256)
        _make(spec, found[entry.path], base=base, nf4=nf4, dtype=dtype, progress=progress)
    _check_or_discard(spec, folder, sha256=entry.sha256)
    return Checkpoint(folder=folder, quantize=False)


def _make(
    spec: LoadSpec, gguf: Path, *, base: Path, nf4: Path | None, dtype: str, progress: Progress
) -> None:
    try:
        make_derived(gguf, base=base, nf4=nf4, dtype=dtype, progress=progress)
    except ConversionError as error:
        raise AgentLoadError(model=spec.model, reason=error.public_message) from error


def _check_or_discard(spec: LoadSpec, folder: Path, *, sha256: str) -> None:
    """Check a derived folder; a wrong one is refused now and made again at the next load."""
    memo = HashMemo(spec.home / "verified")
    try:
        verify_folder(spec.model, folder, memo=memo, source_sha256=sha256)
    except (BadWeightsError, WeightsMissingError):
        discard(folder)
        raise


def _verify_files(
    spec: LoadSpec, variant: Variant, found: dict[str, Path], progress: Progress
) -> None:
    memo = HashMemo(spec.home / "verified")
    done_bytes = 0
    for entry in variant.files:
        before = done_bytes

        def report(count: int, before: int = before) -> None:
            progress("verifying", min(1.0, (before + count) / variant.size_bytes))

        verify(spec.model, entry, found[entry.path], memo=memo, progress=report)
        done_bytes += entry.size_bytes


def refuse_code(model: str, folder: Path) -> None:
    """Refuse configuration that names code, which would run even where code is not trusted.

    Raises:
        BadWeightsError: Names the file and the key.
    """
    for name in _CONFIGS:
        path = folder / name
        if not path.is_file():
            continue
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BadWeightsError(
                model=model, file=name, expected="JSON", got=type(error).__name__
            ) from error
        found = _code_key(data)
        if found:
            raise BadWeightsError(model=model, file=name, expected="no code", got=f"`{found}`")


def _code_key(data: Any) -> str | None:
    if isinstance(data, list):
        return next((found for item in data if (found := _code_key(item))), None)
    if not isinstance(data, dict):
        return None
    for key, value in data.items():
        if _names_code(key, value):
            return str(key)
        if found := _code_key(value):
            return found
    return None


def _names_code(key: str, value: Any) -> bool:
    if key in _CODE_KEYS:
        return bool(value)
    if key.lstrip("_").startswith(("attn_implementation", "experts_implementation")):
        return "/" in json.dumps(value)
    return key == "quant_method" and value not in _ALLOWED_METHODS

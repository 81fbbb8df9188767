"""A checkpoint quantised to NF4 by bitsandbytes, saved so that a load need not do it again."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from orion.errors import ConversionError, OrionError
from orion.pipeline.quiet import silence
from orion.registry.manifest import SourceFile, derived_folder, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[str, float | None], None]

_COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def quantize_nf4(source: Path, out: Path, *, dtype: str, progress: Progress) -> dict[str, Any]:
    """Make `out` from the checkpoint folder `source`: 4-bit layers, the rest in `dtype`.

    Saved before the first forward, because bitsandbytes repacks weights for the CPU then
    and cannot undo it without loss.

    Raises:
        ConversionError: The source has no manifest, or bitsandbytes refuses it.
        HomeNotWritableError: The place of `out` cannot be written to.
    """
    begun_s = time.monotonic()
    manifest = read_manifest(source)
    if manifest is None:
        raise ConversionError(source=source.name, reason="it is not a finished import")
    progress("importing", 0.0)
    try:
        model = _load_4bit(source, dtype)
        progress("importing", 0.7)
        facts = {**manifest.facts, "dtype": dtype, "quantization": "nf4"}
        with derived_folder(out, source=SourceFile(**dict(manifest.source)), facts=facts) as folder:
            model.save_pretrained(folder)
            for name in _COPIED:
                if (source / name).is_file():
                    shutil.copyfile(source / name, folder / name)
    except OrionError:
        raise
    except MemoryError as error:
        raise ConversionError(source=source.name, reason="not enough memory") from error
    except Exception as error:
        reason = f"bitsandbytes refuses it ({type(error).__name__}: {str(error)[:200]})"
        raise ConversionError(source=source.name, reason=reason) from error
    progress("importing", 1.0)
    return {"out": str(out), "dtype": dtype, "seconds": time.monotonic() - begun_s}


def _load_4bit(source: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    silence()
    compute_dtype = getattr(torch, dtype)
    return AutoModelForCausalLM.from_pretrained(
        source,
        dtype=compute_dtype,
        device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype,
        ),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )

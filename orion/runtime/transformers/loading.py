"""A checked checkpoint → a model in memory, placed and in the right numbers."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from orion.runtime.transformers.progress import loading_progress
from orion.settings import yield_between_kernels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PACKED_ROWS = 32
_BLOCK = 64


def import_libraries() -> None:
    """torch, transformers, accelerate and bitsandbytes, quiet and without a way to the Hub.

    On processors with AVX512-BF16 bitsandbytes fetches a kernel from the Hub where the
    `kernels` package is installed: code nobody pinned, so it is told that it is not.
    """
    yield_between_kernels()
    import accelerate  # type: ignore[import-untyped]
    import torch
    import transformers
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    hidden = "kernels" not in sys.modules
    if hidden:
        sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        import bitsandbytes
    finally:
        if hidden:
            sys.modules.pop("kernels", None)
    assert all((accelerate, bitsandbytes, torch, transformers))
    assert transformers.AutoModelForCausalLM
    assert transformers.LlamaForCausalLM


def chosen_dtype(device: object) -> str:
    """The dtype of activations and of what stays unquantised.

    Measured with the embedded model: on a CPU with AVX512-BF16 bfloat16 is as fast as
    float32 and 110 MB smaller; without it float32 is half as fast again as bfloat16.
    """
    import torch
    from bitsandbytes.functional import has_avx512bf16

    if device == "cpu":
        return "bfloat16" if has_avx512bf16() else "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def load_model(
    folder: Path,
    *,
    dtype: str,
    quantize: bool,
    device_map: dict[str, Any],
    report: Callable[[float], None],
) -> Any:
    """The model, in evaluation mode, every safetensors file read once."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    compute_dtype = getattr(torch, dtype)
    options: dict[str, Any] = {}
    if quantize:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype,
        )
    with loading_progress(report):
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=compute_dtype,
            device_map=device_map,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **options,
        )
    model.eval()
    _keep_odd_shapes_unpacked(model)
    ending = model.generation_config.eos_token_id
    # Sampling is the caller's: whatever defaults the checkpoint brings must not leak in.
    model.generation_config = GenerationConfig(eos_token_id=ending)
    return model


def _keep_odd_shapes_unpacked(model: Any) -> None:
    """Bitsandbytes repacks 4-bit weights for AVX512-BF16 and asserts on shapes it cannot."""
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if not isinstance(module, Linear4bit):
            continue
        if module.out_features % _PACKED_ROWS or module.in_features % _BLOCK:
            module.support_avx512bf16_for_cpu = False


def ending_ids(model: Any) -> frozenset[int]:
    """The ids that the checkpoint itself says end an answer."""
    given = model.generation_config.eos_token_id
    if given is None:
        return frozenset()
    return frozenset(given if isinstance(given, list) else [given])


def first_forward(model: Any) -> None:
    """One token through the model: kernels chosen, weights packed, before anyone waits."""
    import torch

    with torch.no_grad():
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))

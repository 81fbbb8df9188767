"""The `transformers` runtime: safetensors in 4 bits (bitsandbytes NF4), GPU first."""

from orion.runtime.transformers.runtime import TransformersRuntime

__all__ = ["TransformersRuntime"]

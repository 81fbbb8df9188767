"""The `llamacpp` runtime: GGUF files through llama.cpp (xllamacpp), CPU first."""

from orion.runtime.llamacpp.port import LlamaTokenizer
from orion.runtime.llamacpp.runtime import LlamaCppRuntime

__all__ = ["LlamaCppRuntime", "LlamaTokenizer"]

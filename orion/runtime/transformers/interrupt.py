"""A way out of a forward pass: the model is asked before each of its layers."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.runtime.base import Output


class _InterruptedError(Exception):
    """Ends a forward pass nobody wants any more; never leaves this module."""


class LayerWatch:
    """Ends prefill between two layers; a stopping criterion is asked only after all of it.

    The layers of a model are those that transformers can checkpoint, which is every decoder
    layer. Costs two microseconds a layer. One watch per model, one prompt at a time.
    """

    def __init__(self, model: Any) -> None:
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
        self._num_layers = len(layers)
        self._output: Output | None = None
        self._read_tokens = 0
        self._prompt_tokens: int | None = None
        for index, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(self._before, index))

    @contextlib.contextmanager
    def over(
        self, output: Output, *, read_tokens: int = 0, prompt_tokens: int | None = None
    ) -> Iterator[None]:
        """While open, forward passes end early once `output` is stopped; no error comes out.

        The first `read_tokens` of the prompt are in the cache and pass no layer; it has
        `prompt_tokens`, where a pass does not read all of the rest.
        """
        self._output, self._read_tokens = output, read_tokens
        self._prompt_tokens = prompt_tokens
        try:
            yield
        except _InterruptedError:
            pass
        finally:
            self._output = None

    def _before(self, index: int, _layer: Any, inputs: tuple[Any, ...]) -> None:
        output = self._output
        if output is None:
            return
        if output.stopped:
            raise _InterruptedError
        num_tokens = inputs[0].shape[1] if inputs else 1  # hidden states [B, T, H]
        if num_tokens > 1:  # the prompt: all of its tokens pass each layer together
            read_tokens = self._read_tokens + num_tokens * index // self._num_layers
            output.prefilling(read_tokens, self._prompt_tokens or self._read_tokens + num_tokens)

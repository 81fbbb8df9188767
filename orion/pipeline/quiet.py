"""transformers without bars and chatter, and its slow loop over GGUF tensors as progress."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_EVERY = 16


def silence() -> None:
    """No progress bars and no advice on the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@contextlib.contextmanager
def tensors_as_progress(report: Callable[[float], None]) -> Iterator[None]:
    """While open, dequantised tensors are told to `report` as a ratio in [0, 1].

    transformers draws that one bar past its own switch for bars, so the bar itself is
    taken out of its module for the time. Process-wide: one import at a time.
    """
    from transformers import modeling_gguf_pytorch_utils as gguf_utils

    def counted(items: Iterable[Any], **_options: object) -> Iterator[Any]:
        listed = list(items)
        for index, item in enumerate(listed):
            if index % _EVERY == 0:
                report(index / len(listed))
            yield item

    bar = getattr(gguf_utils, "tqdm", None)
    gguf_utils.tqdm = counted
    try:
        yield
    finally:
        gguf_utils.tqdm = bar

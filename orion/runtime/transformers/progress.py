"""transformers' own ticks while it loads, as ratios."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_STEP = 0.02


@contextlib.contextmanager
def loading_progress(report: Callable[[float], None]) -> Iterator[None]:
    """While open, loops of transformers with a known length report a ratio in [0, 1].

    The hook is process-wide: one load at a time, which is what a worker does.
    """
    from transformers.utils import logging as transformers_logging

    def hook(factory: Callable[..., Any], arguments: Any, options: Any) -> Any:
        if not arguments or not hasattr(arguments[0], "__len__"):
            return factory(*arguments, **options)
        return _Ticks(arguments[0], report)

    previous = transformers_logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)


class _Ticks:
    """Stands where a progress bar would: iterates, and says how far it is."""

    def __init__(self, items: Iterable[Any], report: Callable[[float], None]) -> None:
        self._items = list(items)
        self._report = report

    def __iter__(self) -> Iterator[Any]:
        last = 0.0
        for index, item in enumerate(self._items):
            ratio = index / len(self._items)
            if ratio - last >= _STEP:
                self._report(ratio)
                last = ratio
            yield item

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_arguments, **_options: None

"""Gradio, imported without its habit of writing stub files for editors.

`gradio.component_meta` parses the source of every component and renders a `.pyi` file
beside it at each import: two fifths of a start, and writes into the installation.
Nothing reads them at run time. Where Gradio is loaded already, nothing changes.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_MODULE = "gradio.component_meta"
_WRITER = "create_or_modify_pyi"


class _WithoutWriter(Loader):
    """Loads as `inner` does, then puts a function that does nothing in the writer's place."""

    def __init__(self, inner: Loader) -> None:
        self._inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        if hasattr(module, _WRITER):
            setattr(module, _WRITER, lambda *_: None)


class _Finder(MetaPathFinder):
    """Finds one module, and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutWriter(spec.loader)
        return spec


_finder = _Finder()
sys.meta_path.insert(0, _finder)
try:
    import gradio

    assert gradio
finally:
    sys.meta_path.remove(_finder)

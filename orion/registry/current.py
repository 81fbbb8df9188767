"""The registry in force, which a reload replaces as a whole."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from orion.errors import UnknownAgentError

if TYPE_CHECKING:
    from orion.registry.entries import Model
    from orion.registry.registry import Registry


class RegistryRef:
    """Points at one registry. Read from any thread; changed by one at a time.

    A request reads `current` once, at its start, and keeps what it read to its end. So a
    registry that was replaced lives as long as a request holds it, and for that long its
    models can still be loaded.
    """

    def __init__(self, registry: Registry) -> None:
        self._current = self._newest = registry
        self._replaced: tuple[weakref.ref[Registry], ...] = ()

    @property
    def current(self) -> Registry:
        """The one that new requests begin with."""
        return self._current

    def stage(self, registry: Registry) -> None:
        """Have models loaded as `registry` says, before any request begins with it."""
        self._newest = registry

    def swap(self, registry: Registry) -> None:
        """Have new requests begin with `registry`."""
        known = (weakref.ref(self._current), *self._replaced)
        self._replaced = tuple(one for one in known if one() is not None)
        self._newest = self._current = registry

    def model(self, model_id: str) -> Model:
        """The newest entry of that id; one that was taken out, while a request holds it.

        Raises:
            UnknownAgentError: There is none.
        """
        for registry in (self._newest, self._current, *(one() for one in self._replaced)):
            if registry is not None and model_id in registry.models:
                return registry.models[model_id]
        known = ", ".join(self._newest.models)
        raise UnknownAgentError(name=model_id[:80], known=known)

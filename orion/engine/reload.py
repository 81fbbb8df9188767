"""`models.json` read again while requests run: checked, put in force, the old one drained."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orion.breakers import BreakerMode
from orion.errors import OrionError, RegistryError, UnknownAgentError
from orion.registry import difference, load_registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from orion.breakers import Breakers
    from orion.clock import Clock
    from orion.dispatcher import BreakerFor, Dispatcher
    from orion.logs import Log
    from orion.registry import Difference, Registry, RegistryRef


def resolve_pinned(registry: Registry, names: Iterable[str], *, file: str) -> frozenset[str]:
    """The ids of the models that `names`, agents or models, stand for.

    Raises:
        RegistryError: A name is not in the registry; says which there are.
    """
    found = set()
    for name in names:
        try:
            found.add(registry.model_of(name))
        except UnknownAgentError as error:
            reason = (
                f"ORION_MEMORY__PINNED names {error.name!r}, which is no agent and no model "
                f"here. Known: {error.known}"
            )
            raise RegistryError(file=file, path="$", reason=reason) from None
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    error: OrionError
    at_s: float


class Reloader:
    """Replaces the registry in force; from any thread, one reload at a time.

    Whatever is wrong with the file, the registry in force stays. Nothing waits for a reload:
    requests under way end with the registry they began with.
    """

    def __init__(
        self,
        *,
        file: Path,
        registries: RegistryRef,
        dispatcher: Dispatcher,
        breakers: Breakers,
        breaker_for: BreakerFor,
        pinned: Sequence[str],
        clock: Clock,
        log: Log,
    ) -> None:
        self._file = file
        self._registries = registries
        self._dispatcher = dispatcher
        self._breakers = breakers
        self._breaker_for = breaker_for
        self._pinned_names = tuple(pinned)
        self._pinned = resolve_pinned(registries.current, pinned, file=file.name)
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._began_s = clock.now()
        self._loaded_at_s = self._began_s
        self._reloads = 0
        self._refusal: _Refusal | None = None
        self.arm(registries.current)

    def stats(self) -> dict[str, Any]:
        """The registry in force, and why the latest reload was refused; times are uptimes."""
        refusal = self._refusal
        return {
            "file": self._file.name,
            "sha256": self._registries.current.sha256,
            "loaded_at_s": round(self._loaded_at_s - self._began_s, 3),
            "reloads": self._reloads,
            "last_error": None
            if refusal is None
            else {
                "code": refusal.error.code,
                "message": refusal.error.public_message,
                "at_s": round(refusal.at_s - self._began_s, 3),
            },
        }

    @property
    def pinned(self) -> frozenset[str]:
        """The models that the settings pin, by the registry in force."""
        return self._pinned

    def reload(self) -> dict[str, Any]:
        """Read the file and put it in force; `changed`, `added`, `removed` and `kept` are names.

        Raises:
            RegistryError: The file is missing or refused; the registry in force stays.
        """
        with self._lock:
            began_s = self._clock.now()
            try:
                registry = load_registry(self._file)
                pinned = resolve_pinned(registry, self._pinned_names, file=self._file.name)
            except RegistryError as error:
                self._refusal = _Refusal(error=error, at_s=self._clock.now())
                self._log.warning("registry.refused", reason=error.public_message)
                raise
            found = self._put_in_force(registry, pinned)
            seconds = self._clock.now() - began_s
            self._log.info(
                "registry.reloaded",
                sha256=registry.sha256,
                added=list(found.added),
                removed=list(found.removed),
                changed=list(found.changed),
                seconds=round(seconds, 4),
            )
        return {
            "changed": list(found.changed),
            "added": list(found.added),
            "removed": list(found.removed),
            "kept": list(found.kept),
            "registry_sha256": registry.sha256,
            "seconds": round(seconds, 6),
        }

    def arm(self, registry: Registry) -> None:
        """Have the breakers of every agent and of its model, before anyone asks for them."""
        for agent_id, agent in registry.agents.items():
            self._breaker_for("generate", agent_id)
            self._breaker_for("load", agent.model)

    def _put_in_force(self, registry: Registry, pinned: frozenset[str]) -> Difference:
        found = difference(self._registries.current, registry)
        self.arm(registry)
        # In this order nobody who begins with the new entry is answered by what it replaced.
        self._registries.stage(registry)
        self._dispatcher.use(registry.used_models)
        for model in pinned - self._pinned:
            self._dispatcher.pin(model, pinned=True)
        for model in self._pinned - pinned:
            self._dispatcher.pin(model, pinned=False)
        self._dispatcher.retire(found.stale)
        self._registries.swap(registry)
        self._pinned = pinned
        self._forget(registry, stale=found.stale)
        self._loaded_at_s = self._clock.now()
        self._reloads += 1
        self._refusal = None
        return found

    def _forget(self, registry: Registry, *, stale: Iterable[str]) -> None:
        """Breakers of what has gone go too; those of a model that was replaced start anew."""
        replaced = set(stale) & registry.models.keys()
        for name in self._breakers.names():
            target = name.partition(":")[2]
            if target not in registry.agents and target not in registry.models:
                self._breakers.discard(name)
            elif target in replaced:
                breaker = self._breakers.find(name)
                if breaker is not None and breaker.mode is BreakerMode.NORMAL:
                    breaker.reset()

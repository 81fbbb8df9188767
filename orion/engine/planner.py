"""How a model is loaded on this machine: which variant, how many slots, what it will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.dispatcher import LoadPlan
from orion.placement import (
    Holdings,
    Profile,
    choose_variant,
    fit_spare_bytes,
    memory_need,
    room_bytes,
)
from orion.protocol import Load
from orion.registry import ImportSource
from orion.types import RuntimeName

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orion.placement import MemoryProbe
    from orion.registry import RegistryRef
    from orion.settings import Settings

_RUNTIME_CLASSES = {
    RuntimeName.LLAMACPP: "orion.runtime.llamacpp:LlamaCppRuntime",
    RuntimeName.TRANSFORMERS: "orion.runtime.transformers:TransformersRuntime",
}


class Planner:
    """Model id → how to load it here and now. Called on the dispatcher thread."""

    def __init__(
        self,
        registries: RegistryRef,
        settings: Settings,
        *,
        cores: int,
        profile: Profile,
        probe: MemoryProbe,
    ) -> None:
        self._registries = registries
        self._settings = settings
        self._cores = cores
        self._profile = profile
        self._probe = probe
        self._resident: Callable[[], list[dict[str, Any]]] = list

    def look_at(self, resident: Callable[[], list[dict[str, Any]]]) -> None:
        """From now on count what the resident models hold, told as `Dispatcher.models` does."""
        self._resident = resident

    def plan(self, model_id: str) -> LoadPlan:
        """The variant, its runtime, the frame that loads it and what it is expected to take.

        Raises:
            UnknownAgentError: There is no such model.
            NotServableError: No variant of the model can be served here.
        """
        settings, worker = self._settings, self._settings.worker
        model = self._registries.model(model_id)
        variant = choose_variant(
            model,
            model_id=model_id,
            profile=self._profile,
            preferred=settings.runtime,
            home=settings.home,
        )
        options = dict(settings.runtime_options)
        if isinstance(variant.source, ImportSource):
            options["import_from"] = model.origin(variant).model_dump(mode="json")
        context_tokens = min(worker.context_tokens, model.context_tokens)
        room = self._room_bytes(model_id)
        need = memory_need(
            model, variant, context_tokens=context_tokens, slots=worker.slots, room_bytes=room
        )
        return LoadPlan(
            model=model_id,
            runtime=str(variant.runtime),
            runtime_class=self._class_for(variant.runtime),
            variant=variant.id,
            load=Load(
                model=model_id,
                variant=variant.model_dump(mode="json"),
                home=str(settings.home),
                slots=need.slots,
                context_tokens=context_tokens,
                threads=worker.threads or self._cores,
                kv_bytes=fit_spare_bytes(
                    worker.kv_bytes, need_bytes=need.total_bytes, room_bytes=room
                ),
                options=options,
            ),
            # Of a class put in the place of ours nothing is known.
            need_bytes=0 if settings.runtime_class else need.total_bytes,
        )

    def default_class(self) -> str:
        """The runtime class a spare worker should have ready."""
        preferred = self._settings.runtime
        if preferred.value in set(RuntimeName):
            return self._class_for(RuntimeName(preferred.value))
        cpu = self._profile is Profile.CPU
        return self._class_for(RuntimeName.LLAMACPP if cpu else RuntimeName.TRANSFORMERS)

    def _room_bytes(self, model_id: str) -> int | None:
        if self._settings.runtime_class:
            return None
        memory = self._settings.memory
        return room_bytes(
            holdings_of(self._resident(), model_id),
            free_bytes=self._probe.free_bytes(),
            budget_bytes=memory.budget_bytes,
            reserve_bytes=memory.reserve_bytes,
        )

    def _class_for(self, runtime: RuntimeName) -> str:
        return self._settings.runtime_class or _RUNTIME_CLASSES[runtime]


def holdings_of(rows: list[dict[str, Any]], model_id: str) -> Holdings:
    """What models hold beside `model_id`, from rows as `Dispatcher.models` gives them."""
    evictable = pinned = coming = reserved = 0
    for row in rows:
        is_own = row["model"] == model_id
        if row["state"] == "loading":
            reserved += row["bytes"] if is_own else 0
            coming += 0 if is_own else row["bytes"]
        elif row["pinned"] and not is_own:
            pinned += row["bytes"]
        else:  # what it holds itself, being on its way out, comes back
            evictable += row["bytes"]
    return Holdings(
        evictable_bytes=evictable,
        pinned_bytes=pinned,
        coming_bytes=coming,
        reserved_bytes=reserved,
    )

"""The composition root: settings in, a wired engine out. Nothing else constructs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.breakers import BreakerConfig, Breakers
from orion.clock import MonotonicClock
from orion.dispatcher import Dispatcher, DispatcherLimits, LoadPlan
from orion.engine import Engine, Services
from orion.engine.report import Report
from orion.guardrails import Limits
from orion.logs import make_log
from orion.metrics import Metrics
from orion.placement import choose_profile, choose_variant, probe_machine
from orion.protocol import Load
from orion.registry import ImportSource, load_registry
from orion.routing import KeywordRouter
from orion.settings import ExecutorChoice, Settings
from orion.types import RuntimeName
from orion.workers import InProcessWorker, SpawnedWorker, read_pulse

if TYPE_CHECKING:
    from orion.breakers import Breaker
    from orion.dispatcher import BreakerFor
    from orion.placement import Machine, Profile
    from orion.registry import Model, Registry, Variant

_RUNTIME_CLASSES = {
    RuntimeName.LLAMACPP: "orion.runtime.llamacpp:LlamaCppRuntime",
    RuntimeName.TRANSFORMERS: "orion.runtime.transformers:TransformersRuntime",
}


def build_engine(settings: Settings | None = None) -> Engine:
    """A running engine; leave it as a context manager, or call `shutdown`.

    Args:
        settings: None reads the environment.

    Raises:
        RegistryError: `models.json` is missing or refused.
    """
    settings = settings or Settings()
    clock, log, metrics = MonotonicClock(), make_log(settings.log), Metrics()
    registry = load_registry(settings.registry)
    machine = probe_machine(settings.home)
    verdict = choose_profile(machine, settings.profile)
    planner = _Planner(settings, registry, machine, verdict.profile)
    breakers = Breakers(clock=clock, log=log, enabled=settings.breaker.enabled)
    breaker_for = _breaker_for(settings, breakers)
    for agent_id, agent in registry.agents.items():
        breaker_for("generate", agent_id)
        breaker_for("load", agent.model)
    dispatcher = Dispatcher(
        limits=DispatcherLimits(
            places=settings.workers,
            queue_max=settings.queue_max,
            default_slots=settings.worker.slots,
            load_s=settings.deadline.load_s,
            generate_s=settings.deadline.generate_s,
            spares=settings.worker.spares,
            spare_class=planner.default_class(),
            heartbeat_s=settings.deadline.heartbeat_s,
            stall_s=settings.deadline.stall_s,
            stop_s=settings.deadline.stop_s,
            reader_s=settings.deadline.reader_s,
            buffer_bytes=settings.stream.buffer_bytes,
            growth_bytes=settings.worker.growth_bytes,
            deaths_max=settings.quarantine.deaths,
            quarantine_s=settings.quarantine.span_s,
        ),
        plan=planner.plan,
        start_worker=_start_worker(settings),
        breaker_for=breaker_for,
        read_pulse=read_pulse,
        used_models=frozenset(agent.model for agent in registry.agents.values()),
        clock=clock,
        log=log,
    )
    services = Services(
        registry=registry,
        router=KeywordRouter(),
        breakers=breakers,
        breaker_for=breaker_for,
        dispatcher=dispatcher,
        metrics=metrics,
        log=log,
        clock=clock,
        limits=Limits(
            message_chars=settings.limits.message_chars,
            total_chars=settings.limits.total_chars,
            messages=settings.limits.messages,
            max_tokens=settings.limits.max_tokens,
        ),
        interval_s=settings.stream.interval_s,
        heartbeat_s=settings.stream.heartbeat_s,
        request_s=settings.deadline.request_s,
    )
    report = Report(
        registry=registry,
        dispatcher=dispatcher,
        breakers=breakers,
        metrics=metrics,
        clock=clock,
        profile=str(verdict.profile),
        heartbeat_s=settings.deadline.heartbeat_s,
    )
    log.info("engine.started", profile=str(verdict.profile), reason=verdict.reason)
    return Engine(services, settings, report)


def _breaker_for(settings: Settings, breakers: Breakers) -> BreakerFor:
    """Breakers by what they guard: `load:<model>` and `generate:<agent>`, all by the settings."""
    trial_s = {
        # A trial is over when its deadline is; a load has one only while it does not move.
        "generate": settings.deadline.generate_s + _TRIAL_SLACK_S,
        "load": settings.deadline.load_s + _LOAD_TRIAL_S,
    }
    configs = {
        kind: BreakerConfig.from_settings(settings.breaker, trial_s=seconds)
        for kind, seconds in trial_s.items()
    }
    made: dict[str, Breaker] = {}

    def breaker_for(kind: str, target: str) -> Breaker:
        name = f"{kind}:{target}"
        if name not in made:  # by these rules once; later changes are the operator's
            made[name] = breakers.get(name, configs[kind])
        return made[name]

    return breaker_for


def _start_worker(settings: Settings) -> type[SpawnedWorker | InProcessWorker]:
    return InProcessWorker if settings.executor is ExecutorChoice.INPROCESS else SpawnedWorker


_TRIAL_SLACK_S = 10.0
_LOAD_TRIAL_S = 900.0


class _Planner:
    """Model id → how to load it here."""

    def __init__(
        self, settings: Settings, registry: Registry, machine: Machine, profile: Profile
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._machine = machine
        self._profile = profile

    def plan(self, model_id: str) -> LoadPlan:
        """The variant, its runtime and the frame that loads it.

        Raises:
            NotServableError: No variant of the model can be served here.
        """
        model = self._registry.model(model_id)
        variant = choose_variant(
            model,
            model_id=model_id,
            profile=self._profile,
            preferred=self._settings.runtime,
            home=self._settings.home,
        )
        options = dict(self._settings.runtime_options)
        if isinstance(variant.source, ImportSource):
            source = _variant_of(model, variant.source.variant)
            options["import_from"] = source.model_dump(mode="json")
        worker = self._settings.worker
        return LoadPlan(
            model=model_id,
            runtime=str(variant.runtime),
            runtime_class=self._class_for(variant.runtime),
            variant=variant.id,
            load=Load(
                model=model_id,
                variant=variant.model_dump(mode="json"),
                home=str(self._settings.home),
                slots=worker.slots,
                context_tokens=min(worker.context_tokens, model.context_tokens),
                threads=worker.threads or self._machine.cores,
                options=options,
            ),
        )

    def default_class(self) -> str:
        """The runtime class a spare worker should have ready."""
        preferred = self._settings.runtime
        if preferred.value in set(RuntimeName):
            return self._class_for(RuntimeName(preferred.value))
        cpu = self._profile.value == "cpu"
        return self._class_for(RuntimeName.LLAMACPP if cpu else RuntimeName.TRANSFORMERS)

    def _class_for(self, runtime: RuntimeName) -> str:
        return self._settings.runtime_class or _RUNTIME_CLASSES[runtime]


def _variant_of(model: Model, variant_id: str) -> Variant:
    return next(variant for variant in model.variants if variant.id == variant_id)

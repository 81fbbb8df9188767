"""The composition root: settings in, a wired engine out. Nothing else constructs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.answer_cache import AnswerCache
from orion.breakers import BreakerConfig, Breakers
from orion.clock import MonotonicClock
from orion.dispatcher import Dispatcher, DispatcherLimits
from orion.engine import Engine, Services
from orion.engine.planner import Planner
from orion.engine.reload import Reloader, resolve_pinned
from orion.engine.report import Report
from orion.guardrails import Limits
from orion.logs import make_log
from orion.metrics import Metrics
from orion.placement import MemoryProbe, choose_profile, probe_machine
from orion.preload import Preloader
from orion.registry import RegistryRef, load_registry
from orion.routing import KeywordRouter
from orion.settings import ExecutorChoice, Settings
from orion.workers import InProcessWorker, SpawnedWorker, read_pulse

if TYPE_CHECKING:
    from orion.breakers import Breaker
    from orion.dispatcher import BreakerFor


def build_engine(settings: Settings | None = None) -> Engine:
    """A running engine; leave it as a context manager, or call `shutdown`.

    Args:
        settings: None reads the environment.

    Raises:
        RegistryError: `models.json` is missing or refused.
    """
    settings = settings or Settings()
    clock, log, metrics = MonotonicClock(), make_log(settings.log), Metrics()
    registries = RegistryRef(load_registry(settings.registry))
    file, wanted = settings.registry.name, settings.memory.pinned
    pinned = resolve_pinned(registries.current, wanted, file=file)
    machine = probe_machine(settings.home)
    verdict = choose_profile(machine, settings.profile)
    probe = MemoryProbe(
        total_bytes=machine.memory_total_bytes, announced_bytes=machine.memory_limit_bytes
    )
    planner = Planner(
        registries, settings, cores=machine.cores, profile=verdict.profile, probe=probe
    )
    breakers = Breakers(clock=clock, log=log, enabled=settings.breaker.enabled)
    breaker_for = _breaker_for(settings, breakers)
    preloader = Preloader(
        lambda agent_id: registries.current.agent(agent_id).model,
        settings.prediction,
        clock,
        log,
    )
    dispatcher = Dispatcher(
        limits=_limits(settings, spare_class=planner.default_class(), pinned=pinned),
        plan=planner.plan,
        start_worker=_start_worker(settings),
        breaker_for=breaker_for,
        read_pulse=read_pulse,
        used_models=registries.current.used_models,
        free_bytes=probe.free_bytes,
        total_bytes=probe.total_bytes,
        observer=preloader.on_event,
        clock=clock,
        log=log,
    )
    planner.look_at(dispatcher.models)
    reloader = Reloader(
        file=settings.registry,
        registries=registries,
        dispatcher=dispatcher,
        breakers=breakers,
        breaker_for=breaker_for,
        pinned=wanted,
        clock=clock,
        log=log,
    )
    cache = settings.answer_cache
    answer_cache = AnswerCache(
        enabled=cache.enabled,
        public=cache.public,
        entries=cache.entries,
        size_bytes=cache.size_bytes,
        ttl_s=cache.ttl_s,
        clock=clock,
    )
    services = Services(
        registries=registries,
        router=KeywordRouter(),
        breakers=breakers,
        breaker_for=breaker_for,
        dispatcher=dispatcher,
        answer_cache=answer_cache,
        preloader=preloader,
        metrics=metrics,
        log=log,
        clock=clock,
        limits=Limits(
            message_chars=settings.limits.message_chars,
            total_chars=settings.limits.total_chars,
            messages=settings.limits.messages,
            max_tokens=settings.limits.max_tokens,
            keep_alive=settings.memory.caller_keep_alive,
        ),
        interval_s=settings.stream.interval_s,
        heartbeat_s=settings.stream.heartbeat_s,
        request_s=settings.deadline.request_s,
    )
    report = Report(
        services,
        reloader,
        profile=str(verdict.profile),
        heartbeat_s=settings.deadline.heartbeat_s,
    )
    log.info("engine.started", profile=str(verdict.profile), reason=verdict.reason)
    return Engine(services, settings, report, reloader)


def _limits(settings: Settings, *, spare_class: str, pinned: frozenset[str]) -> DispatcherLimits:
    return DispatcherLimits(
        places=settings.workers,
        queue_max=settings.queue_max,
        queue_tokens=settings.queue.tokens,
        client_share=settings.queue.client_share,
        turn_max=settings.queue.turn_max,
        patience_s=settings.queue.patience_s,
        budget_bytes=settings.memory.budget_bytes,
        reserve_bytes=settings.memory.reserve_bytes,
        keep_alive_s=settings.memory.keep_alive_s,
        pinned=pinned,
        default_slots=settings.worker.slots,
        load_s=settings.deadline.load_s,
        generate_s=settings.deadline.generate_s,
        spares=settings.worker.spares,
        spare_class=spare_class,
        heartbeat_s=settings.deadline.heartbeat_s,
        stall_s=settings.deadline.stall_s,
        stop_s=settings.deadline.stop_s,
        reader_s=settings.deadline.reader_s,
        buffer_bytes=settings.stream.buffer_bytes,
        growth_bytes=settings.worker.growth_bytes,
        deaths_max=settings.quarantine.deaths,
        quarantine_s=settings.quarantine.span_s,
    )


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

    def breaker_for(kind: str, target: str) -> Breaker:
        name = f"{kind}:{target}"
        # By these rules once; later changes are the operator's.
        return breakers.find(name) or breakers.get(name, configs[kind])

    return breaker_for


def _start_worker(settings: Settings) -> type[SpawnedWorker | InProcessWorker]:
    return InProcessWorker if settings.executor is ExecutorChoice.INPROCESS else SpawnedWorker


_TRIAL_SLACK_S = 10.0
_LOAD_TRIAL_S = 900.0

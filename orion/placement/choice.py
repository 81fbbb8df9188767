"""Which variant of a model would run here, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orion.errors import AgentLoadError, NotServableError, OrionError, WeightsMissingError
from orion.placement.machine import installed_runtimes
from orion.placement.profile import Profile
from orion.registry import locate
from orion.settings import RuntimeChoice
from orion.types import RuntimeName

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from orion.registry import Model, Variant

_CPU_ORDER = (RuntimeName.LLAMACPP, RuntimeName.TRANSFORMERS)
_GPU_ORDER = (RuntimeName.TRANSFORMERS, RuntimeName.LLAMACPP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a variant can run here. `present`: its files (or their source) are here.

    `problem` is what an attempt to use it would raise, None when it can run.
    """

    variant: Variant
    present: bool
    reason: str
    problem: OrionError | None = None

    @property
    def runs(self) -> bool:
        """Whether a load may be tried."""
        return self.problem is None


def choose_variant(
    model: Model,
    *,
    model_id: str,
    profile: Profile,
    preferred: RuntimeChoice,
    home: Path,
    installed: Collection[RuntimeName] | None = None,
) -> Variant:
    """The first variant, in the order this profile prefers, that can run here.

    `preferred` binds where the model has a variant for that runtime. `installed` are
    the runtimes that can be imported; None looks.

    Raises:
        WeightsMissingError: Its files are not here; says how to get them.
        AgentLoadError: The packages of its runtime are not installed.
        NotServableError: Nothing of it may be served (unpinned, remote).
    """
    verdicts = judge_variants(
        model,
        model_id=model_id,
        profile=profile,
        preferred=preferred,
        home=home,
        installed=installed,
    )
    for verdict in verdicts:
        if verdict.problem is None:
            return verdict.variant
    missing = [v.problem for v in verdicts if isinstance(v.problem, WeightsMissingError)]
    problem = missing[0] if missing else verdicts[0].problem
    assert problem is not None, "every verdict above had one"
    raise problem


def judge_variants(
    model: Model,
    *,
    model_id: str,
    profile: Profile,
    preferred: RuntimeChoice,
    home: Path,
    installed: Collection[RuntimeName] | None = None,
) -> tuple[Verdict, ...]:
    """A verdict on every variant, the most preferred first."""
    order = _CPU_ORDER if profile is Profile.CPU else _GPU_ORDER
    usable = installed_runtimes() if installed is None else installed
    bound = _bound(model, preferred)
    ranked = sorted(
        model.variants,
        key=lambda variant: (
            variant.runtime is not bound,
            order.index(variant.runtime) if variant.runtime in order else len(order),
        ),
    )
    return tuple(
        _judge(model, model_id, variant, home, bound=bound, usable=usable, profile=profile)
        for variant in ranked
    )


def _bound(model: Model, preferred: RuntimeChoice) -> RuntimeName | None:
    """The runtime the setting insists on, where the model has a variant for it."""
    if preferred is RuntimeChoice.AUTO:
        return None
    runtime = RuntimeName(preferred.value)
    return runtime if any(variant.runtime is runtime for variant in model.variants) else None


def _judge(
    model: Model,
    model_id: str,
    variant: Variant,
    home: Path,
    *,
    bound: RuntimeName | None,
    usable: Collection[RuntimeName],
    profile: Profile,
) -> Verdict:
    if model.origin(variant).status == "unpinned":
        reason = "unpinned: its revision and hashes are not known, so it is never served"
        return _refused(model_id, variant, present=False, reason=reason)
    missing = _missing(model, model_id, variant, home)
    present = missing is None
    if variant.runtime is RuntimeName.REMOTE:
        return _refused(model_id, variant, present=present, reason="remote is not served yet")
    if bound is not None and variant.runtime is not bound:
        reason = f"ORION_RUNTIME asks for {bound}"
        return _refused(model_id, variant, present=present, reason=reason)
    if variant.runtime not in usable:
        reason = f"the packages of the {variant.runtime} runtime are not installed"
        problem = AgentLoadError(model=model_id, reason=reason)
        return Verdict(variant=variant, present=present, reason=reason, problem=problem)
    if missing is not None:
        reason = missing.public_message
        return Verdict(variant=variant, present=False, reason=reason, problem=missing)
    return Verdict(variant=variant, present=True, reason=_why(variant, bound, profile))


def _refused(model_id: str, variant: Variant, *, present: bool, reason: str) -> Verdict:
    problem = NotServableError(agent=model_id, reason=f"{variant.id}: {reason}")
    return Verdict(variant=variant, present=present, reason=reason, problem=problem)


def _missing(
    model: Model, model_id: str, variant: Variant, home: Path
) -> WeightsMissingError | None:
    """Why the files are not here. A derived variant is here when its source is."""
    try:
        locate(home, model_id, variant)
    except WeightsMissingError as error:
        origin = model.origin(variant)
        return error if origin is variant else _missing(model, model_id, origin, home)
    return None


def _why(variant: Variant, bound: RuntimeName | None, profile: Profile) -> str:
    if bound is not None:
        return f"ORION_RUNTIME asks for {bound}"
    if variant.runtime is RuntimeName.LLAMACPP:
        if profile is Profile.CPU:
            return "llama.cpp is the fastest way to run this on a CPU"
        return "GGUF runs here too, on the CPU"
    if profile is Profile.CPU:
        return "4-bit through transformers works on a CPU, 10 to 18 times slower than GGUF"
    return "4-bit on the GPU"

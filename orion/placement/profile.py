"""Which of the three profiles of machine this is, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orion.settings import ProfileChoice
from orion.units import format_bytes

if TYPE_CHECKING:
    from orion.placement.machine import Machine

_TRUTHY = frozenset({"1", "true", "yes", "on"})


class Profile(StrEnum):
    """The kinds of machine ORION knows how to use."""

    CPU = "cpu"
    GPU = "gpu"
    ZEROGPU = "zerogpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileVerdict:
    """The profile, and the sentence that says why."""

    profile: Profile
    reason: str


def choose_profile(
    machine: Machine, preferred: ProfileChoice = ProfileChoice.AUTO
) -> ProfileVerdict:
    """The profile asked for, or the one `machine` suits."""
    if preferred is not ProfileChoice.AUTO:
        return ProfileVerdict(profile=Profile(preferred.value), reason="asked for (ORION_PROFILE)")
    if machine.space.get("SPACES_ZERO_GPU", "").strip().lower() in _TRUTHY:
        return ProfileVerdict(profile=Profile.ZEROGPU, reason="SPACES_ZERO_GPU is set")
    if not machine.gpus:
        return ProfileVerdict(profile=Profile.CPU, reason=f"no GPU: {machine.gpu_note}")
    gpu = machine.gpus[0]
    if machine.torch_build is None:
        reason = f"{gpu.name} is there, but torch is not installed"
        return ProfileVerdict(profile=Profile.CPU, reason=reason)
    if machine.torch_build == "cpu":
        reason = f"{gpu.name} is there, but this torch is built without CUDA"
        return ProfileVerdict(profile=Profile.CPU, reason=reason)
    memory = f" with {format_bytes(gpu.total_bytes)}" if gpu.total_bytes else ""
    return ProfileVerdict(profile=Profile.GPU, reason=f"{gpu.name}{memory}")

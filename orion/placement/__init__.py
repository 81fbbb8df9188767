"""What this machine has, and which variant of a model it should run. No tensors here."""

from orion.placement.choice import Verdict, choose_variant, judge_variants
from orion.placement.limits import CgroupLimits, read_cgroup_limits
from orion.placement.machine import Gpu, Machine, installed_runtimes, probe_machine
from orion.placement.memory import (
    MemoryNeed,
    fit_slots,
    fit_spare_bytes,
    kv_bytes_per_token,
    memory_need,
    weights_bytes,
)
from orion.placement.probe import MemoryProbe
from orion.placement.profile import Profile, ProfileVerdict, choose_profile
from orion.placement.room import Holdings, room_bytes

__all__ = [
    "CgroupLimits",
    "Gpu",
    "Holdings",
    "Machine",
    "MemoryNeed",
    "MemoryProbe",
    "Profile",
    "ProfileVerdict",
    "Verdict",
    "choose_profile",
    "choose_variant",
    "fit_slots",
    "fit_spare_bytes",
    "installed_runtimes",
    "judge_variants",
    "kv_bytes_per_token",
    "memory_need",
    "probe_machine",
    "read_cgroup_limits",
    "room_bytes",
    "weights_bytes",
]

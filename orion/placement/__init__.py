"""What this machine has, and which variant of a model it should run. No tensors here."""

from orion.placement.choice import Verdict, choose_variant, judge_variants
from orion.placement.limits import CgroupLimits, read_cgroup_limits
from orion.placement.machine import Gpu, Machine, installed_runtimes, probe_machine
from orion.placement.profile import Profile, ProfileVerdict, choose_profile

__all__ = [
    "CgroupLimits",
    "Gpu",
    "Machine",
    "Profile",
    "ProfileVerdict",
    "Verdict",
    "choose_profile",
    "choose_variant",
    "installed_runtimes",
    "judge_variants",
    "probe_machine",
    "read_cgroup_limits",
]

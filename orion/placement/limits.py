"""What the control group of this process allows: cores and memory, cgroup v1 and v2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2⁶³."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """Limits in force; None means none. `memory_used_bytes` leaves out reclaimable files."""

    cores: float | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None


def read_cgroup_limits(root: Path = Path("/")) -> CgroupLimits:
    """The tightest limits of this process's group and of every group above it.

    `root` is where `proc` and `sys` hang. Unreadable files read as "no limit".
    """
    quotas: list[float] = []
    memories: list[tuple[int, int | None]] = []
    mount = root / "sys/fs/cgroup"
    for controllers, group in _groups(root):
        if controllers == "":
            base = mount if (mount / "cgroup.controllers").exists() else mount / "unified"
            for folder in _upwards(base, group):
                quotas += _quota_v2(folder)
                memories += _memory_v2(folder)
        if "cpu" in controllers.split(","):
            for folder in _upwards(mount / controllers, group):
                quotas += _quota_v1(folder)
        if "memory" in controllers.split(","):
            for folder in _upwards(mount / "memory", group):
                memories += _memory_v1(folder)
    limit_bytes, used_bytes = min(memories, key=_room, default=(None, None))
    return CgroupLimits(
        cores=min(quotas, default=None), memory_bytes=limit_bytes, memory_used_bytes=used_bytes
    )


def _room(entry: tuple[int, int | None]) -> int:
    limit_bytes, used_bytes = entry
    return limit_bytes - (used_bytes or 0)


def _groups(root: Path) -> list[tuple[str, str]]:
    """`(controllers, path)` of each hierarchy; controllers is "" for v2."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, group = rest.partition(":")
        if separator:
            found.append((controllers, group))
    return found


def _upwards(mount: Path, group: str) -> list[Path]:
    """The group's folder and those above; in a container the path may not exist in the mount."""
    parts = [part for part in PurePosixPath(group).parts if part not in {"/", ".."}]
    folders = [mount.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]
    return [folder for folder in folders if folder.is_dir()]


def _quota_v2(folder: Path) -> list[float]:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return [int(quota) / int(period)]
    return []


def _quota_v1(folder: Path) -> list[float]:
    quota = _number(folder / "cpu.cfs_quota_us")
    period = _number(folder / "cpu.cfs_period_us")
    return [quota / period] if quota and period else []


def _memory_v2(folder: Path) -> list[tuple[int, int | None]]:
    limit_bytes = _number(folder / "memory.max")
    if limit_bytes is None:
        return []
    used_bytes = _number(folder / "memory.current")
    return [(limit_bytes, _minus_files(used_bytes, folder, "inactive_file"))]


def _memory_v1(folder: Path) -> list[tuple[int, int | None]]:
    limit_bytes = _number(folder / "memory.limit_in_bytes")
    if limit_bytes is None or limit_bytes >= _UNLIMITED_BYTES:
        return []
    used_bytes = _number(folder / "memory.usage_in_bytes")
    return [(limit_bytes, _minus_files(used_bytes, folder, "total_inactive_file"))]


def _minus_files(used_bytes: int | None, folder: Path, key: str) -> int | None:
    if used_bytes is None:
        return None
    for line in _text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return max(0, used_bytes - int(value))
    return used_bytes


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

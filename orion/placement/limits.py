"""What the control group of this process allows: cores and memory, cgroup v1 and v2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2⁶³."""
_FILE_ROWS = ("inactive_file", "active_file", "file_mapped")
_MAPPED_V1 = "total_mapped_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """Limits in force; None means none. `memory_used_bytes` leaves out reclaimable files."""

    cores: float | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryGroup:
    """One control group with a say in memory; its files are read at each call."""

    folder: Path
    limit_name: str
    used_name: str
    stat_prefix: str

    def limit_bytes(self) -> int | None:
        """The most this group may hold; None: no limit."""
        limit_bytes = _number(self.folder / self.limit_name)
        return None if limit_bytes is None or limit_bytes >= _UNLIMITED_BYTES else limit_bytes

    def used_bytes(self) -> int | None:
        """What it holds, without the files that would make room: those no process has mapped."""
        used_bytes = _number(self.folder / self.used_name)
        if used_bytes is None:
            return None
        held = self._stat()
        inactive = held.get("inactive_file", 0)
        files = inactive + held.get("active_file", 0)
        unmapped = files - held["file_mapped"] if "file_mapped" in held else inactive
        return max(0, used_bytes - max(inactive, unmapped))

    def room_bytes(self) -> int | None:
        """What may still be taken; None: no limit."""
        limit_bytes = self.limit_bytes()
        return None if limit_bytes is None else limit_bytes - (self.used_bytes() or 0)

    def _stat(self) -> dict[str, int]:
        names = {f"{self.stat_prefix}{name}": name for name in _FILE_ROWS}
        found = {}
        for line in _text(self.folder / "memory.stat").splitlines():
            name, _, value = line.partition(" ")
            # In v1 this row has another name than those beside it.
            name = f"{self.stat_prefix}file_mapped" if name == _MAPPED_V1 else name
            if name in names and value.isdigit():
                found[names[name]] = int(value)
        return found


def find_memory_groups(root: Path = Path("/")) -> tuple[MemoryGroup, ...]:
    """The groups of this process and those above that say how much memory they hold."""
    mount = root / "sys/fs/cgroup"
    found = []
    for controllers, group in _groups(root):
        if controllers == "":
            base = _base_v2(mount)
            names = ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            base = mount / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        limit_name, used_name, prefix = names
        found += [
            MemoryGroup(
                folder=folder, limit_name=limit_name, used_name=used_name, stat_prefix=prefix
            )
            for folder in _upwards(base, group)
            if any((folder / name).exists() for name in (limit_name, used_name))
        ]
    return tuple(found)


def read_cgroup_limits(root: Path = Path("/")) -> CgroupLimits:
    """The tightest limits of this process's group and of every group above it.

    `root` is where `proc` and `sys` hang. Unreadable files read as "no limit".
    """
    quotas: list[float] = []
    mount = root / "sys/fs/cgroup"
    for controllers, group in _groups(root):
        if controllers == "":
            for folder in _upwards(_base_v2(mount), group):
                quotas += _quota_v2(folder)
        if "cpu" in controllers.split(","):
            for folder in _upwards(mount / controllers, group):
                quotas += _quota_v1(folder)
    memories = [
        (limit_bytes, group.used_bytes())
        for group in find_memory_groups(root)
        if (limit_bytes := group.limit_bytes()) is not None
    ]
    limit_bytes, used_bytes = min(memories, key=_room, default=(None, None))
    return CgroupLimits(
        cores=min(quotas, default=None), memory_bytes=limit_bytes, memory_used_bytes=used_bytes
    )


def _base_v2(mount: Path) -> Path:
    return mount if (mount / "cgroup.controllers").exists() else mount / "unified"


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


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

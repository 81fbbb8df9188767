"""What this machine has: cores, memory, instruction sets, disk, GPUs. Never imports torch."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orion.placement.limits import read_cgroup_limits
from orion.settings import space_environment
from orion.types import RuntimeName
from orion.units import GIB, KIB, MIB

_INSTRUCTION_SETS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni",
    "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_RUNTIME_PACKAGES = {
    RuntimeName.LLAMACPP: ("xllamacpp",),
    RuntimeName.TRANSFORMERS: ("torch", "transformers", "accelerate", "bitsandbytes"),
}
_GPU_QUERY = "index,name,memory.total,memory.free,driver_version,compute_cap"
_GPU_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA device, as its driver names it."""

    index: int
    name: str
    total_bytes: int | None
    free_bytes: int | None
    driver: str
    compute_capability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What may be used here.

    `cores` and memory are what the container allows, not what the host has; None
    means this system does not tell. `torch_build` is `cpu`, `cuda` or `rocm`.
    """

    system: str
    python: str
    cpu_name: str
    cores: int
    host_cores: int
    instruction_sets: tuple[str, ...]
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    memory_limit_bytes: int | None
    home: str
    home_writable: bool
    disk_free_bytes: int | None
    gpus: tuple[Gpu, ...]
    gpu_note: str
    torch_build: str | None
    runtimes: tuple[RuntimeName, ...]
    space: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "runtimes": [str(name) for name in self.runtimes]}


def probe_machine(home: Path, *, root: Path = Path("/")) -> Machine:
    """Look at this machine; a few file reads, and `nvidia-smi` where it is installed.

    Args:
        home: The folder whose disk matters; it need not exist.
        root: Where `proc` and `sys` hang.
    """
    limits = read_cgroup_limits(root)
    space = space_environment()
    meminfo = _meminfo(root)
    flags, cpu_name = _cpu(root)
    gpus, gpu_note = _gpus(space.get("CUDA_VISIBLE_DEVICES"))
    memory_limit_bytes = _least(limits.memory_bytes, _quantity_bytes(space.get("MEMORY")))
    room_bytes = (
        memory_limit_bytes - (limits.memory_used_bytes or 0) if memory_limit_bytes else None
    )
    disk_free_bytes, writable = _disk(home)
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        cpu_name=cpu_name,
        cores=_cores(limits.cores, space.get("CPU_CORES")),
        host_cores=os.cpu_count() or 1,
        instruction_sets=tuple(name for name in _INSTRUCTION_SETS if name in flags),
        memory_total_bytes=_least(meminfo.get("MemTotal", _physical_bytes()), memory_limit_bytes),
        memory_available_bytes=_least(meminfo.get("MemAvailable"), room_bytes),
        memory_limit_bytes=memory_limit_bytes,
        home=str(home),
        home_writable=writable,
        disk_free_bytes=disk_free_bytes,
        gpus=gpus,
        gpu_note=gpu_note,
        torch_build=_torch_build(),
        runtimes=installed_runtimes(),
        space=space,
    )


def installed_runtimes() -> tuple[RuntimeName, ...]:
    """The runtimes whose packages can be imported here; nothing is imported to find out."""
    return tuple(
        runtime
        for runtime, packages in _RUNTIME_PACKAGES.items()
        if all(importlib.util.find_spec(package) is not None for package in packages)
    )


def _torch_build() -> str | None:
    """`"cpu"`, `"cuda"`, `"rocm"`, or None without torch: read from its version file."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.origin:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return "cpu"
    for build, name in (("cuda", "cuda"), ("hip", "rocm")):
        if re.search(rf"^{build}\b[^=\n]*=\s*'", text, re.MULTILINE):
            return name
    return "cpu"


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _cores(quota: float | None, announced: str | None) -> int:
    """Whole cores this process may use; a part of a core counts down, never below one."""
    affinity = getattr(os, "sched_getaffinity", None)
    candidates: list[float] = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    if quota:
        candidates.append(quota)
    match = re.fullmatch(r"\d{1,4}(\.\d+)?", (announced or "").strip())
    if match and float(match[0]) > 0:
        candidates.append(float(match[0]))
    return max(1, math.floor(min(candidates)))


def _quantity_bytes(text: str | None) -> int | None:
    """`"16Gi"`, `"16G"`, `"512Mi"` or plain bytes; None for anything else."""
    match = re.fullmatch(r"(\d{1,19})\s*([KMGT]?)i?B?", (text or "").strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        return None
    factors = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": GIB * KIB}
    return int(match[1]) * factors[match[2].upper()]


def _meminfo(root: Path) -> dict[str, int]:
    found = {}
    for line in _head(root / "proc/meminfo").splitlines():
        match = re.match(r"(\w+):\s+(\d+) kB", line)
        if match:
            found[match[1]] = int(match[2]) * KIB
    return found


def _physical_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _cpu(root: Path) -> tuple[frozenset[str], str]:
    """Flags and name of the first core."""
    flags: frozenset[str] = frozenset()
    name = platform.processor() or platform.machine()
    for line in _head(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"} and not flags:
            flags = frozenset(value.split())
        elif key.strip() == "model name":
            name = value.strip()
    return flags, name


def _disk(home: Path) -> tuple[int | None, bool]:
    """Free bytes and whether `home` (or the folder it would be made in) can be written to."""
    folder = home
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free_bytes: int | None = shutil.disk_usage(folder).free
    except OSError:
        free_bytes = None
    return free_bytes, folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _gpus(visible: str | None) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs and, where there is none to use, why."""
    if visible is not None and visible.strip() in {"", "-1"}:
        return (), "CUDA_VISIBLE_DEVICES hides every GPU"
    binary = shutil.which("nvidia-smi")
    if binary is None:
        return (), "nvidia-smi is not installed"
    command = [binary, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return (), f"nvidia-smi failed ({type(error).__name__})"
    gpus = tuple(gpu for line in done.stdout.splitlines() if (gpu := _gpu(line)))
    return gpus, "" if gpus else "nvidia-smi lists no GPU"


def _gpu(line: str) -> Gpu | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != len(_GPU_QUERY.split(",")) or not fields[0].isdigit():
        return None
    total, free = (int(text) * MIB if text.isdigit() else None for text in fields[2:4])
    return Gpu(
        index=int(fields[0]),
        name=fields[1],
        total_bytes=total,
        free_bytes=free,
        driver=fields[4],
        compute_capability=fields[5],
    )


def _head(file: Path, size_bytes: int = 16 * KIB) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(size_bytes)
    except OSError:
        return ""

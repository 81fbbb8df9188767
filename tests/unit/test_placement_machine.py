"""What this machine has, read from trees of files as Linux and containers write them."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orion.placement import Machine, probe_machine, read_cgroup_limits
from orion.types import RuntimeName

GIB = 1024**3
SMI = "0, NVIDIA H200, 143771, 142000, 570.10, 9.0\n1, NVIDIA H200, 143771, [N/A], 570.10, 9.0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, to be filled with `proc` and `sys`."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def no_tools(monkeypatch, tmp_path) -> Path:
    """A PATH with nothing on it but what the test adds; no Space, no container variables."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("SPACE_ID", "SPACES_ZERO_GPU", "CPU_CORES", "MEMORY", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def look(root: Path, no_tools: Path, tmp_path: Path) -> Callable[[], Machine]:
    """Probe what the test has put under `root` and on the PATH."""
    return functools.partial(probe_machine, tmp_path, root=root)


def write(root: Path, files: dict[str, str]) -> None:
    """Make the files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def nvidia_smi(folder: Path, script: str) -> None:
    """Put a program of that name on the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


class TestCgroup:
    def test_none_without_files(self, root):
        """Another system has no control groups."""
        limits = read_cgroup_limits(root)

        assert (limits.cores, limits.memory_bytes, limits.memory_used_bytes) == (None, None, None)

    def test_v2_takes_the_tigh(self, root):
        """A parent's limit binds its children."""
        write(
            root,
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/memory.max": "max\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/b/memory.max": f"{2 * GIB}\n",
                "sys/fs/cgroup/a/b/memory.current": f"{GIB}\n",
                "sys/fs/cgroup/a/b/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n",
            },
        )

        limits = read_cgroup_limits(root)

        assert limits.cores == 1.5
        assert limits.memory_bytes == 2 * GIB
        assert limits.memory_used_bytes == GIB // 2

    def test_v2_in_a_container_reads_the_root_of_the_mount(self, root):
        """The path of the host is not in the container's mount."""
        write(
            root,
            {
                "proc/self/cgroup": "0::/../../host/path\n",
                "sys/fs/cgroup/cgroup.controllers": "",
                "sys/fs/cgroup/cpu.max": "200000 100000",
                "sys/fs/cgroup/memory.max": str(16 * GIB),
            },
        )

        limits = read_cgroup_limits(root)

        assert (limits.cores, limits.memory_bytes) == (2.0, 16 * GIB)
        assert limits.memory_used_bytes is None

    def test_v1_reads_both_controllers(self, root):
        """Quota over period; a number near 2⁶³ is no limit."""
        write(
            root,
            {
                "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/c\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/memory/m/memory.limit_in_bytes": str(GIB),
                "sys/fs/cgroup/memory/m/memory.usage_in_bytes": "1000",
                "sys/fs/cgroup/memory/m/memory.stat": "total_inactive_file 400\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
        )

        limits = read_cgroup_limits(root)

        assert limits.cores == 4.0
        assert (limits.memory_bytes, limits.memory_used_bytes) == (GIB, 600)

    @pytest.mark.parametrize("content", ["", "garbage", "max", "100000 0", "-1 100000"])
    def test_odd_quota_is_no_limit(self, root, content):
        """Nothing odd becomes a number of cores."""
        write(
            root,
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cgroup.controllers": "",
                "sys/fs/cgroup/cpu.max": content,
            },
        )

        assert read_cgroup_limits(root).cores is None


class TestMachine:
    def test_memory_is_what_the_container_may_use(self, look, root):
        """The host's memory is not ours."""
        write(
            root,
            {
                "proc/meminfo": "MemTotal: 33554432 kB\nMemAvailable: 20971520 kB\n",
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cgroup.controllers": "",
                "sys/fs/cgroup/memory.max": str(16 * GIB),
                "sys/fs/cgroup/memory.current": str(4 * GIB),
            },
        )

        machine = look()

        assert machine.memory_total_bytes == 16 * GIB
        assert machine.memory_available_bytes == 12 * GIB
        assert machine.memory_limit_bytes == 16 * GIB

    @pytest.mark.parametrize(
        ("announced", "limit"),
        [
            ("2Gi", 2 * GIB), ("512Mi", GIB // 2), ("2147483648", 2 * GIB), ("2G", 2 * GIB),
            ("1Ti", None), ("lots", None), ("", None), ("-1", None),
        ],
    )  # fmt: skip
    def test_memory_of_a_space_is_read(self, look, root, monkeypatch, announced, limit):
        """`MEMORY` is the limit a Space announces; nonsense is none."""
        write(root, {"proc/meminfo": "MemTotal: 33554432 kB\n"})
        monkeypatch.setenv("MEMORY", announced)

        total = look().memory_total_bytes

        assert total == (limit or 32 * GIB)

    @pytest.mark.parametrize(
        ("announced", "cores"), [("1", 1), ("0.5", 1), ("1.9", 1), ("100000", None), ("0", None)]
    )
    def test_cores_are_whole_and_never_more_than_announced(
        self, look, monkeypatch, announced, cores
    ):
        """A part of a core counts down, never below one."""
        monkeypatch.setenv("CPU_CORES", announced)

        expected = cores or len(os.sched_getaffinity(0))

        assert look().cores == expected

    def test_quota_bounds_the_cores(self, look, root):
        """Half a core is one thread."""
        write(
            root,
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cgroup.controllers": "",
                "sys/fs/cgroup/cpu.max": "50000 100000",
            },
        )

        assert look().cores == 1

    def test_instruction_sets_are_told(self, look, root):
        """Only those that matter to inference, and the processor's name."""
        write(
            root,
            {
                "proc/cpuinfo": "processor: 0\nmodel name\t: Fast 9000\n"
                "flags\t\t: fpu vme avx2 avx fma mmx\n\nprocessor: 1\nflags: avx512f\n"
            },
        )

        machine = look()

        assert machine.cpu_name == "Fast 9000"
        assert machine.instruction_sets == ("avx", "avx2", "fma")

    def test_home_that_is_not_there_yet_is_judged_by_its_parent(self, root, no_tools, tmp_path):
        """It can be made."""
        machine = probe_machine(tmp_path / "not" / "yet", root=root)

        assert machine.home_writable
        assert machine.disk_free_bytes > 0

    def test_home_below_a_file_is_not_writable(self, root, no_tools, tmp_path):
        """It can never be made."""
        (tmp_path / "file").write_text("")

        assert not probe_machine(tmp_path / "file" / "home", root=root).home_writable

    def test_this_machine_can_be_probed(self, tmp_path):
        """Real files; torch is not imported, and both runtimes are known to be installed."""
        machine = probe_machine(tmp_path)

        assert machine.cores >= 1
        assert machine.memory_total_bytes > 0
        assert set(machine.runtimes) == {RuntimeName.LLAMACPP, RuntimeName.TRANSFORMERS}
        assert machine.as_dict()["runtimes"] == ["llamacpp", "transformers"]


class TestGpus:
    def test_none_without_the_tool(self, look):
        """No driver, no GPU; and the reason."""
        machine = look()

        assert machine.gpus == ()
        assert machine.gpu_note == "nvidia-smi is not installed"

    def test_listed_with_their_memory(self, look, no_tools):
        """As the driver tells; what it does not tell is None."""
        nvidia_smi(no_tools, f"echo '{SMI}'")

        first, second = look().gpus

        assert (first.name, first.index, first.driver) == ("NVIDIA H200", 0, "570.10")
        assert first.total_bytes == 143_771 * 1024**2
        assert first.compute_capability == "9.0"
        assert second.free_bytes is None

    @pytest.mark.parametrize(
        ("script", "note"),
        [
            ("exit 9", "nvidia-smi failed (CalledProcessError)"),
            ("echo No devices were found", "nvidia-smi lists no GPU"),
            ("echo", "nvidia-smi lists no GPU"),
        ],
    )
    def test_broken_driver_is_no_gpu(self, look, no_tools, script, note):
        """A tool that fails costs the GPU, not the probe."""
        nvidia_smi(no_tools, script)

        machine = look()

        assert machine.gpus == ()
        assert machine.gpu_note == note

    @pytest.mark.parametrize("hidden", ["", "-1", " "])
    def test_hidden_gpus_are_not_there(self, look, no_tools, monkeypatch, hidden):
        """`CUDA_VISIBLE_DEVICES` hides them from CUDA, so from us."""
        nvidia_smi(no_tools, f"echo '{SMI}'")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)

        assert look().gpus == ()


class TestTorchBuild:
    @pytest.mark.parametrize(
        ("version", "build"),
        [
            ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", "cpu"),
            ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "cuda"),
            ("cuda = '12.8'\nhip = None\n", "cuda"),
            ("cuda: Optional[str] = None\nhip: Optional[str] = '7.0'\n", "rocm"),
            (None, "cpu"),
        ],
    )
    def test_is_read_from_its_version_file(self, look, tmp_path, monkeypatch, version, build):
        """Without importing it."""
        package = tmp_path / "site" / "torch"
        write(package, {"__init__.py": "raise RuntimeError('imported')\n"})
        if version is not None:
            write(package, {"version.py": version})
        monkeypatch.syspath_prepend(str(package.parent))
        monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)

        assert look().torch_build == build

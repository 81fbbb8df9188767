"""Child processes that are timed, weighed and ended by their id."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NoReturn, Self

import psutil

from orion.settings import CHILD_ENVIRONMENT, PACKAGE_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_END_S = 20.0
_TAIL_BYTES = 2000


class BenchmarkError(Exception):
    """A measurement could not be taken; the text says why, for people."""


class Child:
    """One process of ours. Use as a context manager: leaving it ends the process.

    Args:
        command: Arguments after the interpreter.
        environment: Variables set on top of the caller's.
        talks: Whether its standard input is a pipe.

    Attributes:
        begun_s: Monotonic moment just before it was started.
    """

    def __init__(
        self, *command: str, environment: Mapping[str, str] | None = None, talks: bool = False
    ) -> None:
        self._name = " ".join(command)[:80]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.begun_s = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=PACKAGE_ROOT,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**_environment(), **(environment or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def first_byte_s(self) -> float:
        """Seconds from the start to its first byte on standard output.

        Raises:
            BenchmarkError: It ended without a word.
        """
        assert self.process.stdout
        if not os.read(self.process.stdout.fileno(), 1):
            self.fail("it wrote nothing")
        return time.monotonic() - self.begun_s

    def finished_s(self, limit_s: float = 120.0) -> float:
        """Seconds from the start to its end with status 0.

        Raises:
            BenchmarkError: It failed, or took longer than `limit_s`.
        """
        try:
            status = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.fail(f"it is not done after {limit_s:.0f} s")
        took_s = time.monotonic() - self.begun_s
        if status:
            self.fail(f"exit status {status}")
        return took_s

    def errors(self) -> str:
        """What it has written to standard error so far."""
        file = self._errors.fileno()
        # Not by seek and read: the child writes at the same offset.
        return os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace")

    def fail(self, reason: str) -> NoReturn:
        """Give up on it, showing the end of what it wrote to standard error.

        Raises:
            BenchmarkError: Always.
        """
        tail = self.errors()[-_TAIL_BYTES:].strip()
        message = f"{self._name}: {reason}\n{tail}".rstrip()
        raise BenchmarkError(message)

    def end(self) -> None:
        """SIGTERM, then SIGKILL; returns with the process gone."""
        if self.process.poll() is None:
            self.process.terminate()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()


def _environment() -> dict[str, str]:
    """The caller's own, offline and silent; not a worker's, whose tuning is the product's.

    Bytecode is kept, or every start would be a first one.
    """
    kept = dict(os.environ)  # noqa: TID251 - handed on to children, never read
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, **CHILD_ENVIRONMENT, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def tree_pss_bytes(pid: int) -> int:
    """Proportional memory of a process and all below it; what is shared counts once."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total


def rss_bytes(pid: int) -> int:
    """Resident set of one process."""
    return int(psutil.Process(pid).memory_info().rss)


def cpu_s(pid: int) -> float:
    """Processor time one process has used, all threads, without its children."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


class Bystanders:
    """How much of the machine other work takes, from its making to each look.

    What this process and all below it use is not counted; nothing below it may end in
    between.
    """

    def __init__(self) -> None:
        self._begun = self._now()

    def cores(self) -> float:
        """Cores busy with other work, on average since it was made."""
        moment_s, others_s = self._now()
        return max(0.0, others_s - self._begun[1]) / (moment_s - self._begun[0])

    def _now(self) -> tuple[float, float]:
        times = psutil.cpu_times()
        busy_s = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        busy_s -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        own_s = cpu_s(os.getpid()) + sum(cpu_s(pid) for pid in child_pids(os.getpid()))
        return time.monotonic(), busy_s - own_s


def child_pids(pid: int) -> set[int]:
    """The processes below one process."""
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}

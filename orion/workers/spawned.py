"""A worker in a child process of its own, with a private pipe each way."""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from orion.protocol import FrameDecoder, FrameError, encode
from orion.settings import PACKAGE_ROOT, worker_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.protocol import Frame
    from orion.workers.base import OnExit, OnFrame

_READ_BYTES = 65536
_STDERR_KEPT_BYTES = 4000
_REAP_LIMIT_S = 3.0


class SpawnedWorker:
    """A child started by dotted name: the parent never imports what it runs.

    Create it on a thread that outlives it: the kernel ends the child when the thread
    that started it goes (PR_SET_PDEATHSIG counts threads, not processes).

    Raises:
        OSError: The process could not be started.
    """

    def __init__(self, worker_id: str, runtime: str, on_frame: OnFrame, on_exit: OnExit) -> None:
        self.id = worker_id
        self._on_frame = on_frame
        self._on_exit = on_exit
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with contextlib.ExitStack() as undo:  # nothing is left open, or running, half made
            child_read, self._write_fd = _pipe(undo)
            self._read_fd, child_write = _pipe(undo)
            self._process = _start(runtime, child_read, child_write)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._thread(self._read).start()
            undo.pop_all()  # the reader closes its end and reaps
            os.close(child_read)
            os.close(child_write)
        try:
            self._thread(self._write).start()
        except RuntimeError:
            self.kill()
            os.close(self._write_fd)
            raise

    @property
    def pid(self) -> int | None:
        """Process id of the child."""
        return self._process.pid

    def send(self, frame: Frame) -> None:
        """Queue a frame for the writer thread."""
        self._outbox.put(encode(frame))

    def close(self) -> None:
        """Close our end; the child sees the end of its input and leaves."""
        self._outbox.put(None)

    def terminate(self) -> None:
        """SIGTERM; a stopped process takes no notice until it goes on."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL; the reader thread reaps."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _thread(self, target: Callable[[], None]) -> threading.Thread:
        return threading.Thread(
            target=target, name=f"orion-{self.id}-{target.__name__}", daemon=True
        )

    def _write(self) -> None:
        try:
            while (data := self._outbox.get()) is not None:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._write_fd, view) :]
        except OSError:
            pass  # the reader sees the end of the process and tells
        finally:
            os.close(self._write_fd)

    def _read(self) -> None:
        """Until the end of the pipe; whatever happens, the child is reaped and its end told."""
        errors = self._process.stderr
        assert errors
        tail = bytearray()
        try:
            tail = self._read_all(errors.fileno())
        except OSError:  # not even a selector is to be had: a worker nobody hears is no worker
            self.kill()
        os.close(self._read_fd)
        exit_code = self._reap()
        tail = (tail + _rest(errors.fileno()))[-_STDERR_KEPT_BYTES:]
        errors.close()
        self._outbox.put(None)
        self._on_exit(self.id, exit_code, tail.decode("utf-8", "replace"))

    def _read_all(self, errors_fd: int) -> bytearray:
        """Hand on every frame; returns the end of what the child wrote to standard error."""
        decoder = FrameDecoder()
        tail = bytearray()
        trusted = True
        with selectors.DefaultSelector() as selector:
            selector.register(self._read_fd, selectors.EVENT_READ)
            selector.register(errors_fd, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, _READ_BYTES)
                    if not data:
                        selector.unregister(key.fd)
                    elif key.fd != self._read_fd:
                        tail = (tail + data)[-_STDERR_KEPT_BYTES:]
                    elif trusted:
                        trusted = self._deliver(decoder, data)
                if self._read_fd not in selector.get_map():
                    break
        return tail

    def _deliver(self, decoder: FrameDecoder, data: bytes) -> bool:
        """Hand on the frames in `data`; False once the child cannot be trusted."""
        try:
            for frame in decoder.feed(data):
                self._on_frame(self.id, frame)
        except FrameError:
            self.kill()
            return False
        return True

    def _reap(self) -> int:
        try:
            return self._process.wait(_REAP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe that is closed if what follows fails."""
    read_fd, write_fd = os.pipe()
    undo.callback(os.close, read_fd)
    undo.callback(os.close, write_fd)
    return read_fd, write_fd


def _rest(fd: int) -> bytes:
    """What is left to read, without waiting: a grandchild may hold the other end."""
    os.set_blocking(fd, False)
    try:
        return os.read(fd, _READ_BYTES)
    except OSError:
        return b""


def _start(runtime: str, child_read: int, child_write: int) -> subprocess.Popen[bytes]:
    environment = worker_environment()
    paths = [str(PACKAGE_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-m", "orion.runtime.child", "--runtime", runtime]
    command += ["--read", str(child_read), "--write", str(child_write)]
    command += ["--parent", str(os.getpid())]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(child_read, child_write),
        env=environment,
    )

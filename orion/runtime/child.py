"""A worker: one process, one model, one pipe in and one out.

`python -m orion.runtime.child --runtime MODULE:CLASS --read FD --write FD --parent PID`.
The parent names the runtime by dotted name, so it never imports one. The worker ends
when the pipe ends, when the parent dies, or when it is told to. SIGTERM keeps its default
action, which ends it whatever native code is running; a stopped one takes only SIGKILL.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, cast

from orion.protocol import FrameDecoder, FrameError, encode
from orion.runtime.loop import WorkerLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.protocol import Frame
    from orion.runtime.base import Runtime

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 65536
_EXIT_LIMIT_S = 2.0


def make_runtime(dotted: str) -> Runtime:
    """The runtime named `package.module:Class`, without arguments."""
    module, _, name = dotted.partition(":")
    return cast("Runtime", getattr(importlib.import_module(module), name)())


def die_with(parent_pid: int) -> None:
    """Have the kernel end this process when its parent goes, and go if it has gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def take_signals() -> None:
    """Leave Ctrl-C to the parent; let SIGTERM through where the parent ignored or blocked it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


class PipeOut:
    """Frames to the parent; writing may block, which is what slows a fast model down."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        """Write one frame whole. A closed pipe means the parent is gone: end here."""
        view = memoryview(encode(frame))
        try:
            with self._lock:
                while view:
                    view = view[os.write(self._fd, view) :]
        except OSError:
            os._exit(1)


def read_frames(fd: int) -> Iterator[Frame]:
    """Frames of the parent until its end of the pipe closes."""
    decoder = FrameDecoder()
    while data := os.read(fd, _READ_BYTES):
        yield from decoder.feed(data)


def main(arguments: list[str] | None = None) -> int:
    """Serve one parent; returns the exit status."""
    parser = argparse.ArgumentParser(prog="orion-worker")
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--read", type=int, required=True)
    parser.add_argument("--write", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--heartbeat", type=float, default=0.2)
    options = parser.parse_args(arguments)
    take_signals()
    die_with(options.parent)
    os.set_inheritable(options.read, False)  # noqa: FBT003 - no keywords taken
    os.set_inheritable(options.write, False)  # noqa: FBT003
    out = PipeOut(options.write)
    loop = WorkerLoop(
        lambda: make_runtime(options.runtime),
        out.send,
        heartbeat_s=options.heartbeat,
        own_process=True,
    )
    try:
        loop.run(read_frames(options.read))
    except FrameError as error:
        print(f"orion worker: {error}", file=sys.stderr)  # noqa: T201 - the parent reads it
    # A library's thread must not keep a worker alive that has nothing left to do.
    watchdog = threading.Timer(_EXIT_LIMIT_S, os._exit, args=(0,))
    watchdog.daemon = True
    watchdog.start()
    return loop.exit_code


if __name__ == "__main__":
    sys.exit(main())

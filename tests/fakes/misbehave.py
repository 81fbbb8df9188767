"""The ways in which the scripted runtime misbehaves, each named by a word of its script."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from orion.protocol import Delta, Frame, encode
from orion.runtime.base import Job, Output

FOREVER_S = 3600.0
MORE_THAN_ANY_MACHINE_BYTES = 1 << 62


def pipe_fd() -> int:
    """The end of the pipe this process writes to its parent on, as its command line says.

    Raises:
        RuntimeError: This is no worker process.
    """
    arguments = sys.argv
    if "--write" not in arguments:
        raise RuntimeError("only a worker process of its own can do this")
    return int(arguments[arguments.index("--write") + 1])


def write_all(data: bytes) -> None:
    """Bytes to the parent, past the loop."""
    view = memoryview(data)
    while view:
        view = view[os.write(pipe_fd(), view) :]


def hang_for_ever() -> None:
    """Neither move nor obey; the process lives and beats."""
    threading.Event().wait(FOREVER_S)


def fail(job: Job, output: Output) -> None:
    raise RuntimeError("scripted failure")


def die(job: Job, output: Output) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(job: Job, output: Output) -> None:
    os._exit(0)


def hang(job: Job, output: Output) -> None:
    hang_for_ever()


def write_garbage(job: Job, output: Output) -> None:
    write_all(b"\xff" * 64)


def run_out_of_memory(job: Job, output: Output) -> None:
    """A MemoryError of the allocator's own, without taking a byte from anybody."""
    bytearray(MORE_THAN_ANY_MACHINE_BYTES)


def flood(job: Job, output: Output) -> None:
    """Pieces without end, as fast as they can be made."""
    pipe_fd()
    while True:
        output.piece("flood ", 1)


def burn(job: Job, output: Output) -> None:
    """All of a core, without end and without a token."""
    pipe_fd()
    while True:
        sum(range(1000))


def write_half_a_frame(job: Job, output: Output) -> None:
    """A megabyte is announced and never comes; heartbeats drown in it."""
    write_all(encode(delta(job, 0, "x" * 1_000_000))[:100])
    hang_for_ever()


def answer_somebody_else(job: Job, output: Output) -> None:
    """A piece for a request this worker never had."""
    send(output, Delta(request_id="nobody", seq=0, text="for somebody else ", num_tokens=1))


def send_twice(job: Job, output: Output) -> None:
    """The next piece goes out as it should, and once more under the same number."""
    told: Any = output
    told.piece("twice ", 1)
    told.flush()
    send(output, delta(job, told._seq - 1, "twice "))


def delta(job: Job, seq: int, text: str) -> Delta:
    return Delta(request_id=job.request_id, seq=seq, text=text, num_tokens=1)


def send(output: Any, frame: Frame) -> None:
    """A frame past the counting of an answer's output, whole."""
    output._send(frame)


ACTS: dict[str, Callable[[Job, Output], None]] = {
    "fail": fail,
    "die": die,
    "exit": leave,
    "hang": hang,
    "stuck": hang,
    "garbage": write_garbage,
    "oom": run_out_of_memory,
    "flood": flood,
    "busy": burn,
    "half": write_half_a_frame,
    "wrong": answer_somebody_else,
    "dup": send_twice,
}


def misbehave(script: dict[str, float], made: int, job: Job, output: Output) -> None:
    """Do what the script wants after `made` tokens."""
    for word, act in ACTS.items():
        if script.get(word) == made:
            act(job, output)

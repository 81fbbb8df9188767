"""The faults of the soak, each struck once at a running app."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random

from benchmarks.chaos.ground import CHAT, CODE, pool_of
from benchmarks.chaos.http_client import Reply, ask, body_of, call, open_stream
from benchmarks.chaos.waiting import until

Struck = tuple[Future[Reply], int] | None
"""A request that is itself the fault, with the tokens it is due; None where there is none."""

_TOKENS = 20
_SILENCE_S = 90.0
_BYTES_MAX = 4000


@dataclass(frozen=True, slots=True)
class Target:
    """The app, and threads for the requests that are made of it."""

    port: int
    token: str
    threads: ThreadPoolExecutor


def _signal(number: int, target: Target, random: Random, name: str) -> None:
    """`kill -9` or SIGSTOP of one of its workers."""
    del name
    os.kill(random.choice(sorted(pool_of(call(target.port, "status")).values())), number)


def _script(word: str, target: Target, random: Random, name: str) -> Struck:
    """A request under which its worker misbehaves."""
    script = f"{name} tokens={_TOKENS} delay=0.02 {word}={random.randint(0, _TOKENS - 1)}"
    body = body_of(script, random.choice([CHAT, CODE]))
    return target.threads.submit(ask, target.port, body, limit_s=_SILENCE_S), _TOKENS


def _inject(kind: str, target: Target, random: Random, name: str) -> None:
    """A fault of the product's own, for whoever asks that agent next."""
    del name
    agent = random.choice([CHAT, CODE])
    call(target.port, "inject_fault", agent, kind, target.token, "generate", 1)


def _break_load(kind: str, target: Target, random: Random, name: str) -> None:
    """A worker dies, and the load that replaces it goes wrong."""
    agent = random.choice([CHAT, CODE])
    call(target.port, "inject_fault", agent, kind, target.token, "load", 1)
    _signal(signal.SIGKILL, target, random, name)


def _vanish(target: Target, random: Random, name: str) -> None:
    """A client closes its connection at a random byte."""
    body = body_of(f"{name} tokens=200 delay=0.02", random.choice([CHAT, CODE]))
    wanted = random.randint(0, _BYTES_MAX)
    with open_stream(target.port, body) as connection:
        got = 0
        while got < wanted and (data := connection.recv(min(4096, wanted - got))):
            got += len(data)


def _cancel(target: Target, random: Random, name: str) -> Struck:
    """An answer is stopped on purpose."""
    reply = Reply()
    body = body_of(f"{name} tokens=200 delay=0.02", random.choice([CHAT, CODE]))
    future = target.threads.submit(ask, target.port, body, limit_s=_SILENCE_S, into=reply)
    until(lambda: bool(reply.request_id) or future.done(), _SILENCE_S)
    time.sleep(random.uniform(0.0, 0.5))
    call(target.port, "cancel", reply.request_id)
    return future, 200


Strike = Callable[[Target, Random, str], Struck]

FAULTS: dict[str, Strike] = {
    "kill": partial(_signal, signal.SIGKILL),
    "stop": partial(_signal, signal.SIGSTOP),
    **{
        word: partial(_script, word)
        for word in ("fail", "die", "exit", "hang", "half", "dup", "flood", "oom", "garbage")
    },
    **{
        f"inject {kind}": partial(_inject, kind) for kind in ("fail", "slow", "hang", "oom", "kill")
    },
    **{f"load {kind}": partial(_break_load, kind) for kind in ("fail", "slow", "kill")},
    "vanish": _vanish,
    "cancel": _cancel,
}

"""G9: an answer that is stopped on purpose, and the next one after it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.app_process import AppProcess
from benchmarks.chaos.fate import Fate, fate_of_reply, in_words
from benchmarks.chaos.ground import CHAT, Journal, ScriptedApp, quiet_row, seeded
from benchmarks.chaos.http_client import Reply, ask, body_of, call
from benchmarks.chaos.table import Row
from benchmarks.chaos.waiting import percentile, seconds, until, worst

if TYPE_CHECKING:
    from random import Random

CANCELS, SMOKE_CANCELS, REAL_CANCELS = 100, 4, 30
REAL_DRAWS_MAX = 60
END_MAX_S, RATIO_MAX = 0.5, 1.10
_LIMIT_S = 20.0


@dataclass(slots=True)
class _Log:
    """What every stop came to. Times count from the call of `/cancel`."""

    fates: list[Fate] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)
    freed_s: list[float] = field(default_factory=list)
    clean_s: list[float] = field(default_factory=list)
    next_s: list[float] = field(default_factory=list)
    odd: list[dict[str, Any]] = field(default_factory=list)
    too_short: int = 0

    @property
    def ratio(self) -> float:
        """Median TTFT after a stop by the median without one."""
        return median(self.next_s) / median(self.clean_s)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """The figures of `/cancel`."""
    random, journal, log, real = seeded(seed), Journal(), _Log(), _Log()
    cancels = SMOKE_CANCELS if smoke else CANCELS
    with (
        TemporaryDirectory(prefix="orion-chaos-") as folder,
        ScriptedApp(Path(folder), journal) as app,
    ):
        app.wait_ready()
        for number in range(cancels):
            _round(
                app.port,
                random,
                log,
                short=f"short {number} {{}} tokens=3 prefill=0.02",
                long=f"long {number} tokens=3000 delay=0.01",
            )
    rows = _rows("the scripted model", log, seed)
    if not smoke:
        with AppProcess() as app:
            app.wait_ready()
            for number in range(REAL_DRAWS_MAX):
                short = f"{{}} in {number} words?"
                long = f"Write the numbers from {number} to 10000 in words, one per line."
                _round(app.port, random, real, short=short, long=long)
                if len(real.fates) == REAL_CANCELS:
                    break
        rows += _rows("the embedded model", real, seed)
    return [*rows, quiet_row("G9", journal, "/cancel")]


def _round(port: int, random: Random, log: _Log, *, short: str, long: str) -> None:
    clean_s = _ttft_s(port, short.format("Why"))
    reply = Reply()
    body = body_of(long, CHAT, max_tokens=4000)
    thread = threading.Thread(target=ask, args=(port, body), kwargs={"into": reply})
    thread.start()
    until(lambda: reply.first_s > 0, _LIMIT_S)
    time.sleep(random.uniform(0.0, 0.4))
    called_s = time.monotonic()
    was_running = call(port, "cancel", reply.request_id)["cancelled"]
    freed_s = until(lambda: _is_idle(port), _LIMIT_S, since_s=called_s)
    thread.join(_LIMIT_S)
    if not was_running and reply.ended and reply.orion.get("finish_reason") == "stop":
        log.too_short += 1  # a real model may end before anybody stops it: no stop, no sample
        return
    log.clean_s.append(clean_s)
    log.freed_s.append(freed_s)
    log.ended_s.append(max(0.0, reply.ended_s - called_s) if reply.ended_s else float("inf"))
    is_cancelled = reply.ended and reply.orion.get("finish_reason") == "cancelled" and reply.text
    fate = Fate.CANCELLED if is_cancelled and was_running else fate_of_reply(reply, 4000)
    log.fates.append(fate)
    if fate is not Fate.CANCELLED:
        log.odd.append({"fate": str(fate), "code": reply.code, "broke": reply.broke})
    log.next_s.append(_ttft_s(port, short.format("How")))


def _ttft_s(port: int, message: str) -> float:
    reply = ask(port, body_of(message, CHAT, max_tokens=4, temperature=0))
    return reply.first_s - reply.sent_s if reply.first_s else float("inf")


def _is_idle(port: int) -> bool:
    return not any(worker["active"] for worker in call(port, "status")["workers"])


def _rows(where: str, log: _Log, seed: int) -> list[Row]:
    count = len(log.fates)
    cancelled = sum(fate is Fate.CANCELLED for fate in log.fates)
    slowest_s = max(worst(log.ended_s), worst(log.freed_s))
    return [
        Row(
            "G9",
            f"stopped with /cancel, {where}",
            "each stream ends as cancelled, with what had come",
            f"{cancelled} of {count}: {in_words(log.fates)}",
            cancelled == count,
            {"seed": seed, "odd": log.odd[:20], "ended_before_the_stop": log.too_short},
        ),
        Row(
            "G9",
            f"time until the stream has ended and the slot is back, {where}",
            f"each ≤ {END_MAX_S:g} s",
            f"median {seconds(percentile(log.freed_s, 50))}, longest {seconds(slowest_s)}",
            slowest_s <= END_MAX_S,
            {"timing": True, "p99_s": percentile(log.freed_s, 99)},
        ),
        Row(
            "G9",
            f"TTFT of the next request, {where}",
            f"≤ {RATIO_MAX:g} x the clean one (medians)",
            f"{log.ratio:.2f} x ({median(log.next_s) * 1000:.1f} ms, clean "
            f"{median(log.clean_s) * 1000:.1f} ms)",
            log.ratio <= RATIO_MAX,
            {"timing": True, "next_s": log.next_s, "clean_s": log.clean_s},
        ),
    ]

"""What the scheduler holds, as plain values. From any thread; a moment old."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.scheduling import Scheduler


def model_rows(scheduler: Scheduler, now_s: float) -> list[dict[str, Any]]:
    """The models that are in memory, come or go, and until when they stay."""
    cache = scheduler.cache
    rows = []
    for model, held in list(cache.resident.items()):
        line = scheduler.lines.get(model)
        is_idle = held.leases == 0 and held.keep_alive_s >= 0 and model not in cache.pinned
        left_s = held.keep_alive_s - (now_s - held.idle_since_s)
        rows.append(
            {
                "model": model,
                "state": "leaving" if held.leaving else "resident",
                "bytes": held.num_bytes,
                "slots": held.slots,
                "leases": held.leases,
                "waiting": line.size if line else 0,
                "pinned": model in cache.pinned,
                "keep_alive_s": held.keep_alive_s,
                "expires_in_s": round(max(0.0, left_s), 1) if is_idle else None,
                "speculative": held.speculative,
            }
        )
    for model, load in list(cache.loading.items()):
        row = _moving(scheduler, model, "loading", load.need_bytes)
        rows.append({**row, "speculative": load.speculative})
    for model, num_bytes in list(cache.aborted.items()):  # loads that were given up
        rows.append(_moving(scheduler, model, "leaving", num_bytes))
    return rows


def _moving(scheduler: Scheduler, model: str, state: str, num_bytes: int) -> dict[str, Any]:
    line = scheduler.lines.get(model)
    return {
        "model": model,
        "state": state,
        "bytes": num_bytes,
        "slots": None,
        "leases": 0,
        "waiting": line.size if line else 0,
        "pinned": model in scheduler.cache.pinned,
        "keep_alive_s": None,
        "expires_in_s": None,
        "speculative": False,
    }


def queue_row(scheduler: Scheduler) -> dict[str, Any]:
    """How many wait, how much they have to say, and how long the next would wait."""
    model = next(iter([*scheduler.lines, *scheduler.resident]), None)
    line = scheduler.lines.get(model or "")
    wait_s = scheduler.door.wait_s(model, line.size if line else 0) if model else 0.0
    return {
        "waiting": scheduler.num_waiting,
        "max": scheduler.limits.queue_max,
        "tokens": scheduler.waiting_tokens,
        "tokens_max": scheduler.limits.queue_tokens,
        "clients": scheduler.shares.num_clients,
        "pending_models": list(scheduler.pending),
        "wait_s": round(wait_s, 1),
        "service_s": round(scheduler.pace.service_s(), 2),
    }

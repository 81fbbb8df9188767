"""A breaker as plain data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orion.breakers.machine import Machine


def snapshot_of(machine: Machine, now_s: float) -> dict[str, Any]:
    """What is known of a breaker at `now_s`, ready for JSON.

    `failures`, `calls` and the rates are those of the window; a rate is None below the minimum
    number of calls. `consecutive` is the run of failures, `opened` how often it opened.
    `retry_after_s` is 0 where a call would be let through, None where only a reset helps.
    The totals hold at every instant: `admitted` = `successes` + `failures_total` + `ignored` +
    `in_flight`.
    """
    window, tally = machine.window, machine.tally
    kind, _, target = machine.name.partition(":")
    is_known = window.calls >= machine.config.minimum_calls
    wait_s = machine.wait_s(now_s) or 0.0
    error = machine.last_error
    return {
        "name": machine.name,
        "kind": kind,
        "target": target,
        "state": machine.state.value,
        "mode": machine.mode.value,
        "generation": machine.generation,
        "failures": window.failures,
        "consecutive": machine.consecutive,
        "calls": window.calls,
        "failure_rate": round(window.failure_ratio, 4) if is_known else None,
        "slow_rate": round(window.slow_ratio, 4) if is_known else None,
        "retry_after_s": round(wait_s, 3) if wait_s < math.inf else None,
        "opened": tally.opened,
        "last_error": None if error is None else {"code": error.code, "message": error.message},
        "trial_in_flight": machine.trials.in_flight > 0,
        "admitted": tally.admitted,
        "successes": tally.successes,
        "failures_total": tally.failures,
        "ignored": tally.ignored,
        "in_flight": len(machine.flights),
        "refused": tally.refused,
    }

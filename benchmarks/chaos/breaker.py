"""The circuit breaker: its cases, its storms, its price, its way back."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.chaos.breaker_life import day, recover
from benchmarks.chaos.breaker_load import (
    overhead_us,
    percentile,
    pybreaker_latencies,
    refusal_latencies,
    storm,
    wall_s,
)
from benchmarks.chaos.table import Row

_ROOT = Path(__file__).resolve().parents[2]
_CASES = 48
_REFUSAL_MS = 2.0
_CALL_US = 20.0
_RESULT = re.compile(r"^(PASSED|FAILED|ERROR) .*::test_case_(\d\d)_", re.MULTILINE)


def run(*, smoke: bool, seed: int) -> list[Row]:
    """G4 to G7; `smoke`: the same with small numbers."""
    return [
        conformance(),
        sequences(smoke=smoke, seed=seed),
        one_trial(smoke=smoke, seed=seed),
        refusals(smoke=smoke),
        side_by_side(smoke=smoke),
        overhead(smoke=smoke),
        recovery(smoke=smoke, seed=seed),
        simulated_day(smoke=smoke, seed=seed),
    ]


def conformance() -> Row:
    """G4: one test for each numbered case."""
    command = [sys.executable, "-m", "pytest", "tests/conformance", "-q", "-rA"]
    command += ["-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    results: dict[int, set[str]] = {}
    for outcome, number in _RESULT.findall(done.stdout):
        results.setdefault(int(number), set()).add(outcome)
    passed = [number for number in range(1, _CASES + 1) if results.get(number) == {"PASSED"}]
    missing = sorted(set(range(1, _CASES + 1)) - set(passed))
    return Row(
        "G4",
        "breaker: numbered cases",
        f"{_CASES}/{_CASES}",
        f"{len(passed)}/{_CASES}",
        not missing and done.returncode == 0,
        {"not_passed": missing, "exit": done.returncode, "tests": done.stdout.count("\nPASSED ")},
    )


def sequences(*, smoke: bool, seed: int) -> Row:
    """G4: the breaker against its model, through random lives."""
    # Imported here: the tests' model is not needed by the other figures.
    from tests.property.test_breaker_machine import run_sequences

    count, steps = (100, 30) if smoke else (10_000, 50)
    began_s, problem = time.perf_counter(), ""
    try:
        run_sequences(count, steps, seed)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        problem = f"{type(error).__name__}: {error}"[:2000]
    return Row(
        "G4",
        "breaker: random lives as the model's",
        f"{count:,} x {steps} steps, 0 differences",
        f"{count:,} x {steps} steps, " + ("a difference" if problem else "0 differences"),
        not problem,
        {"seed": seed, "problem": problem, "seconds": round(time.perf_counter() - began_s, 1)},
    )


def one_trial(*, smoke: bool, seed: int) -> Row:
    """G5: one call runs per half-open window, and no outcome is lost."""
    threads, cycles = 32, 50 if smoke else 1000
    found = storm(threads=threads, cycles=cycles, seed=seed)
    trials, windows = len(found.generations), len(set(found.generations))
    return Row(
        "G5",
        f"breaker: {threads} threads, {cycles:,} breaks",
        f"exactly {cycles:,} trials, 0 outcomes lost",
        f"{trials:,} trials in {windows:,} windows, {found.lost} outcomes lost",
        trials == windows == cycles and found.most_at_once == 1 and found.lost == 0,
        {
            "seed": seed,
            "most_at_once": found.most_at_once,
            "refused": found.snapshot["refused"],
            "seconds": round(found.seconds, 2),
        },
    )


def refusals(*, smoke: bool) -> Row:
    """G5: a refusal does not wait for the trial."""
    trial_s = 0.4 if smoke else 10.0
    ours, theirs = refusal_latencies(trial_s=trial_s), pybreaker_latencies(trial_s=trial_s)
    p99_ms, theirs_ms = percentile(ours, 0.99) * 1e3, percentile(theirs, 0.99) * 1e3
    return Row(
        "G5",
        f"breaker: refusals while a {trial_s:g} s trial runs",
        f"p99 < {_REFUSAL_MS:g} ms",
        f"p99 {p99_ms:.3f} ms; pybreaker's call: {theirs_ms:,.0f} ms",
        p99_ms < _REFUSAL_MS,
        {
            "timing": True,
            "refusals": len(ours),
            "p50_ms": round(percentile(ours, 0.5) * 1e3, 4),
            "max_ms": round(max(ours) * 1e3, 3),
            "pybreaker_refusals": len(theirs),
        },
    )


def side_by_side(*, smoke: bool) -> Row:
    """G6: calls run side by side."""
    calls, each_s = (8, 0.1) if smoke else (8, 0.3)
    limit_s = each_s * 1.5
    found = wall_s(calls=calls, each_s=each_s)
    return Row(
        "G6",
        f"breaker: {calls} calls of {each_s:g} s at once",
        f"< {limit_s:.2f} s",
        f"{found['permit']:.3f} s; bare {found['bare']:.3f} s; "
        f"pybreaker's call: {found['pybreaker']:.2f} s",
        found["permit"] < limit_s,
        {"timing": True} | {name: round(seconds, 4) for name, seconds in found.items()},
    )


def overhead(*, smoke: bool) -> Row:
    """G6: what a permit costs."""
    found = overhead_us(calls=2000 if smoke else 20_000)
    return Row(
        "G6",
        "breaker: processor time of a call beside its work",
        f"< {_CALL_US:g} µs",
        f"{found['permit']:.1f} µs; pybreaker's call: {found['pybreaker']:.1f} µs",
        found["permit"] < _CALL_US,
        {"timing": True} | {name: round(cost, 2) for name, cost in found.items()},
    )


def recovery(*, smoke: bool, seed: int) -> Row:
    """G7: after the fault the breaker closes by itself, in time."""
    count = 10 if smoke else 100
    found = [recover(seed * 1000 + number) for number in range(count)]
    late = [one.seed for one in found if not one.in_time]
    return Row(
        "G7",
        "breaker: closed again after the fault ended",
        f"{count}/{count} within break + 1 trial",
        f"{count - len(late)}/{count}, the slowest after {max(one.took_s for one in found):.0f} s",
        not late,
        {"late_seeds": late, "closest": round(max(one.took_s / one.allowed_s for one in found), 3)},
    )


def simulated_day(*, smoke: bool, seed: int) -> Row:
    """G7: half-open is never for ever."""
    count, hours = (1, 1.0) if smoke else (10, 24.0)
    found = [day(seed * 1000 + number, hours) for number in range(count)]
    wedged = sum(one.wedged for one in found)
    longest_s = max(one.longest_half_open_s for one in found)
    return Row(
        "G7",
        f"breaker: {count} x {hours:g} simulated hours of faults",
        "never wedged half-open",
        f"{wedged} wedged; {sum(one.opened for one in found):,} breaks, "
        f"half-open for {longest_s:.0f} s at most",
        wedged == 0 and not any(one.unbalanced for one in found),
        {
            "seed": seed,
            "calls": sum(one.calls for one in found),
            "unbalanced": sum(one.unbalanced for one in found),
        },
    )

"""`python -m benchmarks.chaos`: strike, print the table, say what was met."""

from __future__ import annotations

import argparse
import importlib
import json
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from benchmarks.chaos.table import Row, table
from benchmarks.process import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

SCENARIOS = (
    "lifecycle",
    "breaker",
    "kill",
    "hang",
    "all_dead",
    "poison",
    "leave",
    "cancel",
    "deadline",
    "leaks",
    "drain",
    "orphans",
    "churn",
    "soak",
)
"""Modules of this package, each with `run(*, smoke, seed) -> list[Row]`, the quick ones first."""

SOAK_MINUTES = 20.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 1 when a figure is not met or could not be taken."""
    options = _parse(argv)
    signal.signal(signal.SIGTERM, _leave)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    rows: list[Row] = []
    took_s: dict[str, float] = {}
    try:
        for name in options.scenario or SCENARIOS:
            _say(f"{name}, seed {seed}")
            begun_s = time.monotonic()
            rows += run_one(name, smoke=options.smoke, seed=seed, minutes=options.minutes)
            took_s[name] = round(time.monotonic() - begun_s, 1)
            _say(f"{name} took {took_s[name]:.0f} s")
    except KeyboardInterrupt:
        return 130
    document = {
        "seed": seed,
        "smoke": options.smoke,
        "seconds": took_s,
        "rows": [row.as_dict() for row in rows],
    }
    if options.json:
        options.json.write_text(json.dumps(document, indent=1, default=str) + "\n", "utf-8")
    missed = sum(not row.met for row in rows)
    print(table(rows))
    print(f"\n{len(rows)} figures, {missed} not met; seed {seed}" + " (smoke)" * options.smoke)
    return 1 if missed else 0


def run_one(name: str, *, smoke: bool, seed: int, minutes: float = SOAK_MINUTES) -> list[Row]:
    """The rows of one scenario; one that cannot be measured is a row that is not met."""
    module = importlib.import_module(f"benchmarks.chaos.{name}")
    given: dict[str, Any] = {"minutes": minutes} if name == "soak" else {}
    try:
        rows: list[Row] = module.run(smoke=smoke, seed=seed, **given)
    except (BenchmarkError, OSError) as error:
        _say(f"error: {error}")
        return [Row(name, "could not be measured", "a result", str(error)[:200], met=False)]
    return rows


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--smoke", action="store_true", help="a few of each, in about a minute")
    parser.add_argument("--seed", type=int, help="of every choice; default: a new one, printed")
    parser.add_argument("--minutes", type=float, default=SOAK_MINUTES, help="of the soak")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    return parser.parse_args(argv)


def _say(text: str) -> None:
    print(f"chaos: {text}", file=sys.stderr, flush=True)


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

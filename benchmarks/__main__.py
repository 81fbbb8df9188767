"""`python -m benchmarks`: measure, print the table, say what was met."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from benchmarks.burst import burst
from benchmarks.cold import cold
from benchmarks.duel import decode, ttft
from benchmarks.figures import Figure, any_missed, notes, table
from benchmarks.memory import memory
from benchmarks.process import BenchmarkError
from benchmarks.scheduler import scheduler
from benchmarks.streams import streams
from benchmarks.subject import Subject, describe_machine, find_subject, say
from benchmarks.switch import switch
from benchmarks.turns import turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCENARIOS: dict[str, tuple[Callable[[Subject, int], list[Figure]], int]] = {
    "decode": (decode, 9),
    "ttft": (ttft, 21),
    "cold": (cold, 5),
    "memory": (memory, 5),
    "burst": (burst, 5),
    "streams": (streams, 7),
    "switch": (switch, 7),
    "turns": (turns, 5),
    "scheduler": (scheduler, 9),
}
"""Name → what measures it and how many rounds it takes by default."""

_BUSY = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, 1 (it could not be measured, or --strict and a goal missed)."""
    options = _parse(argv)
    signal.signal(signal.SIGTERM, _leave)
    try:
        subject = find_subject()
        machine = describe_machine(subject)
        figures = _measure(subject, options)
    except (BenchmarkError, OSError) as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        document = {"machine": machine, "figures": [figure.as_dict() for figure in figures]}
        print(json.dumps(document, ensure_ascii=False))
    else:
        print(_page(figures, machine))
    return 1 if options.strict and any_missed(figures) else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--scenario", action="append", choices=list(SCENARIOS), help="one of them; default: all"
    )
    parser.add_argument("--runs", type=_at_least_one, help="rounds of each scenario")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    return parser.parse_args(argv)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = "at least one round"
        raise argparse.ArgumentTypeError(msg)
    return number


def _measure(subject: Subject, options: argparse.Namespace) -> list[Figure]:
    figures: list[Figure] = []
    for name in options.scenario or SCENARIOS:
        measure, rounds = SCENARIOS[name]
        say(f"{name}, {options.runs or rounds} rounds")
        figures += measure(subject, options.runs or rounds)
    return figures


def _page(figures: list[Figure], machine: dict[str, Any]) -> str:
    words = [
        f"{machine['cores']} cores, {machine['threads']} threads, {machine['system']}",
        f"Python {machine['python']}",
    ]
    if machine["bystander_cores"] > _BUSY:
        cores = machine["bystander_cores"]
        words.append(f"other work took {cores:.1f} cores at the start and disturbs these figures")
    return "\n\n".join(part for part in (", ".join(words), table(figures), notes(figures)) if part)


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

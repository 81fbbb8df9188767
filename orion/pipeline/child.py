"""Makes derived checkpoints in a process of its own, whose memory comes back when it ends.

`python -m orion.pipeline.child JSON` with `base`, and where wanted `gguf` (imported into
`base` if that is not there), `nf4` and `dtype` (quantised from `base`). It speaks lines of
JSON on standard output: `["progress", phase, ratio]`, at the end `["done", facts]` or
`["error", code, facts]`; it ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from orion.errors import OrionError
from orion.pipeline.import_gguf import import_gguf
from orion.pipeline.nf4 import quantize_nf4
from orion.registry.manifest import read_manifest, remove_leftovers

_IMPORT_SHARE = 0.7


def main(argument: str) -> int:
    """Do what the JSON `argument` asks; returns the exit status."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no report
    wanted: dict[str, str] = json.loads(argument)
    outs = [Path(wanted[name]) for name in ("base", "nf4") if name in wanted]
    threading.Thread(target=_end_with_parent, args=(outs,), daemon=True).start()

    def report(*line: Any) -> None:
        reports.write(json.dumps(line) + "\n")
        reports.flush()

    try:
        done = _make(wanted, report)
    except OrionError as error:
        report("error", error.code, error.facts)
        return 1
    report("done", done)
    return 0


def _make(wanted: dict[str, str], report: Any) -> dict[str, Any]:
    base = Path(wanted["base"])
    done: dict[str, Any] = {}
    share = 0.0
    if "gguf" in wanted and read_manifest(base) is None:
        share = _IMPORT_SHARE if "nf4" in wanted else 1.0

        def import_progress(phase: str, ratio: float | None) -> None:
            report("progress", phase, None if ratio is None else ratio * share)

        done["import"] = import_gguf(Path(wanted["gguf"]), base, progress=import_progress)
    if "nf4" in wanted:

        def nf4_progress(phase: str, ratio: float | None) -> None:
            report("progress", phase, None if ratio is None else share + ratio * (1 - share))

        done["nf4"] = quantize_nf4(
            base, Path(wanted["nf4"]), dtype=wanted["dtype"], progress=nf4_progress
        )
    return done


def _end_with_parent(outs: list[Path]) -> None:
    while os.read(0, 1):
        continue
    for out in outs:
        remove_leftovers(out, own=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

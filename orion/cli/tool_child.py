"""The child that runs one offline tool: `python -m orion.cli.tool_child module:function PATH…`.

It reports in lines of JSON on what was its standard output; whatever libraries print
goes to standard error. As soon as its standard input closes it takes away what it had
begun at the last PATH, and ends.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from orion.errors import ConversionError, OrionError
from orion.registry.manifest import remove_leftovers


def main(argv: list[str]) -> int:
    """Run the function named by the first argument on the paths that follow."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, args=(Path(argv[-1]),), daemon=True).start()

    def report(**fields: Any) -> None:
        reports.write(json.dumps(fields, default=str) + "\n")
        reports.flush()

    module, _, name = argv[0].partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        result = function(
            *(Path(path) for path in argv[1:]),
            progress=lambda phase, ratio=None: report(progress=phase, ratio=ratio),
        )
    except OrionError as error:
        report(error=error.code, facts=error.facts)
        return 1
    except ImportError as error:
        reason = f"{error.name} is not installed"
        report(error=ConversionError.code, facts={"source": argv[1], "reason": reason})
        return 1
    report(result=result)
    return 0


def _end_with_parent(out: Path) -> None:
    while os.read(0, 1):
        continue
    remove_leftovers(out, own=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

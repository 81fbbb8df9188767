"""Change the breakers in every way mutmut knows, and see that a test notices each change.

Works on a copy, so that nothing lands in the checkout. Prints how many changes there were and
each that no test noticed; exits 1 where there is one, or where a change was not tried.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("orion", "tests", "pyproject.toml")
VERDICTS = {1: "killed", 3: "killed", 0: "survived", 33: "not tested", None: "not tried"}
TIMEOUTS = {36, 24, -24, 152, 255}


def main(argv: list[str] | None = None) -> int:
    """Run; returns 0, or 1 where a mutant lives or was not tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these, as mutmut names them; * allowed")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--folder", type=Path, help="work there and keep it; what is there counts")
    options = parser.parse_args(argv)
    if options.folder is None:
        with tempfile.TemporaryDirectory(prefix="orion-mutants-") as folder:
            return _work(Path(folder), options.names, options.jobs)
    options.folder.mkdir(parents=True, exist_ok=True)
    return _work(options.folder, options.names, options.jobs)


def _work(folder: Path, names: list[str], jobs: int) -> int:
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    ran = _mutmut(folder, "run", "--max-children", str(jobs), *names)
    verdicts = _verdicts(folder)
    counted = collections.Counter(verdicts.values())
    alive = [name for name, verdict in verdicts.items() if verdict not in {"killed", "timed out"}]
    if not verdicts or ran.returncode:
        print(ran.stdout[-4000:], ran.stderr[-4000:], file=sys.stderr)
        print("mutants: error: mutmut did not finish", file=sys.stderr)
        return 1
    for name in [name for name in alive if verdicts[name] != "not tried"]:
        print(_mutmut(folder, "show", name).stdout)
    numbers = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counted.items()))
    print(f"{len(verdicts)} mutants: {numbers}")
    return 1 if [name for name in alive if not names or verdicts[name] != "not tried"] else 0


def _verdicts(folder: Path) -> dict[str, str]:
    """Mutant → what became of it."""
    found = {}
    for path in sorted(folder.glob("mutants/orion/breakers/**/*.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        for name, code in codes.items():
            verdict = "timed out" if code in TIMEOUTS else VERDICTS.get(code, f"exit {code}")
            found[name] = verdict
    return found


def _mutmut(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())

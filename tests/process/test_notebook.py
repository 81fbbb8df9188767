"""The notebooks' code cells run, on the real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orion.settings import PACKAGE_ROOT

NOTEBOOKS = sorted((PACKAGE_ROOT / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


class TestNotebooks:
    @pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
    def test_every_code_cell_runs(self, file: Path, shared_home: Path) -> None:
        """In order, in a fresh interpreter, without an error."""
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")

        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PACKAGE_ROOT,
            env={**os.environ, "ORION_HOME": str(shared_home)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert ran.returncode == 0, ran.stderr
        assert "code-agent" in ran.stdout
        assert "'unloaded': True" in ran.stdout

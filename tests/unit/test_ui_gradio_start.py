"""Importing the page leaves the installed gradio as it was."""

from __future__ import annotations

import subprocess
import sys

from orion.settings import PACKAGE_ROOT

PROBE = """
import pathlib, importlib.util
folder = pathlib.Path(importlib.util.find_spec("gradio").origin).parent / "components"
before = {path: path.stat().st_mtime_ns for path in folder.glob("*.pyi")}
import orion.ui, gradio
after = {path: path.stat().st_mtime_ns for path in folder.glob("*.pyi")}
assert before == after
assert callable(gradio.Textbox().submit)
print("same")
"""


class TestGradioStart:
    def test_no_stub_is_written_and_components_keep_their_events(self) -> None:
        """What is skipped is only for editors."""
        found = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            cwd=PACKAGE_ROOT,
            check=False,
        )

        assert found.stdout.strip() == "same", found.stderr

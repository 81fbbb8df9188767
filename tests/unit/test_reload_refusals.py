"""A `models.json` that is wrong, read while the engine runs: the one in force stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orion.engine import Engine
from orion.errors import RegistryError
from tests.unit.registry_support import spoilt
from tests.unit.reload_support import OWN, own_document, with_poet, written
from tests.unit.test_registry_refusals import DANGLING, IMPOSSIBLE


@pytest.fixture
def document() -> dict[str, Any]:
    """The shipped registry, with a model of our own that the code agent uses."""
    return own_document()


@pytest.fixture
def file(tmp_path: Path, document: dict[str, Any]) -> Path:
    """Where the engine's registry lies."""
    return written(tmp_path / "models.json", document)


@pytest.fixture
def engine(make_fake_engine, file: Path) -> Engine:
    return make_fake_engine(registry=file, workers=2)


BROKEN: dict[str, Any] = {
    **{f"dangling: {name}": (case[0], case[1]) for name, case in DANGLING.items()},
    **{f"number: {path[-1]} {number}": (path, number) for path, number in IMPOSSIBLE[:8]},
    "unknown key": (("colour",), 1),
    "wrong version": (("version",), 2),
    "no agents": (("agents",), {}),
}


def broken(document: dict[str, Any], name: str) -> str:
    """The document with one thing wrong, as text."""
    path, value = BROKEN[name]
    if not name.startswith("number"):
        return json.dumps(spoilt(document, path, value))
    return json.dumps(spoilt(document, path, "@@")).replace('"@@"', value)


class TestInvalidFile:
    @pytest.mark.parametrize("name", BROKEN)
    def test_keeps_the_registry_in_force_and_says_why(self, engine, file, document, name):
        """A request is answered as before, and the place of the mistake is told."""
        sha256 = engine.stats()["registry"]["sha256"]
        written(file, broken(document, name))

        with pytest.raises(RegistryError) as caught:
            engine.reload()

        told = engine.stats()["registry"]
        assert told["sha256"] == sha256
        assert told["reloads"] == 0
        assert told["last_error"]["message"] == caught.value.public_message
        assert caught.value.path.startswith("$")
        assert engine.ask("hello", agent="code-agent").model == OWN

    @pytest.mark.parametrize("content", ["", "{", "null", "[]", '{"version": 1', "\x00", "{}" * 2])
    def test_half_a_file_keeps_it_too(self, engine, file, content):
        """As an editor, a full disk or a copy under way leaves it."""
        written(file, content)

        with pytest.raises(RegistryError):
            engine.reload()

        assert engine.ask("hello").text

    @pytest.mark.parametrize("cut", range(1, 20))
    def test_cut_anywhere_it_is_refused(self, engine, file, document, cut):
        """No beginning of the file is a registry."""
        text = json.dumps(document)
        written(file, text[: len(text) * cut // 20])

        with pytest.raises(RegistryError):
            engine.reload()

    def test_a_file_that_has_gone_keeps_it_too(self, engine, file):
        """And once it is back it is read."""
        document = file.read_text()
        file.unlink()
        with pytest.raises(RegistryError) as caught:
            engine.reload()
        written(file, document)

        engine.reload()

        assert "missing" in caught.value.reason
        assert engine.stats()["registry"]["last_error"] is None

    def test_a_pinned_name_must_stay(self, make_fake_engine, file, document):
        """The settings name an agent that the new file does not have."""
        written(file, with_poet(document))
        engine = make_fake_engine(registry=file, memory={"pinned": ["poet"]})
        written(file, document)

        with pytest.raises(RegistryError) as caught:
            engine.reload()

        assert "'poet'" in caught.value.reason
        assert engine.ask("hello", agent="poet").agent == "poet"

"""Odd pins, odd text and odd files are refused, with their place and the reason."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orion.errors import RegistryError
from orion.registry import load_registry
from orion.registry.registry import MAX_REGISTRY_BYTES
from tests.unit.registry_support import (
    EMBEDDED,
    SHIPPED,
    VARIANT,
    place,
    refusal_of,
    shipped_document,
    spoilt,
)

FILE = ("models", EMBEDDED, "variants", 0, "files", 0)


@pytest.fixture
def document() -> dict[str, Any]:
    """The shipped registry as plain values, to be spoilt."""
    return shipped_document()


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[Any], RegistryError]:
    """Write content to a file, load it, and give back the error."""
    return functools.partial(refusal_of, tmp_path)


class TestPins:
    @pytest.mark.parametrize("key", ["size_bytes", "sha256", "path"])
    def test_file_without_one_of_its_three_keys_is_refused(self, document, refusal, key):
        """A file is named, sized and hashed."""
        del place(document, *FILE)[key]

        error = refusal(document)

        assert error.path == f"{VARIANT}.files[0].{key}"
        assert error.reason == "Field required"

    @pytest.mark.parametrize("sha256", ["B179" + "0" * 60, "abc", "", "0" * 65, "g" * 64, None, 5])
    def test_odd_sha256_is_refused(self, document, refusal, sha256):
        """64 lower-case hexadecimal digits, nothing else."""
        error = refusal(spoilt(document, (*FILE, "sha256"), sha256))

        assert error.path == f"{VARIANT}.files[0].sha256"

    @pytest.mark.parametrize("size", [0, -1, 1.5, "5", True, 2**80, None])
    def test_odd_size_is_refused(self, document, refusal, size):
        """A size is a whole number of bytes."""
        error = refusal(spoilt(document, (*FILE, "size_bytes"), size))

        assert error.path == f"{VARIANT}.files[0].size_bytes"

    @pytest.mark.parametrize(
        "path",
        [
            "../x.gguf", "a/../x.gguf", "/etc/x.gguf", "a\\x.gguf", "C:/x.gguf", "a//x.gguf",
            "./x.gguf", "~/x.gguf", "a b.gguf", "a\x00.gguf", "a\n.gguf", ".hidden.gguf", "",
        ],
    )  # fmt: skip
    def test_path_that_leads_elsewhere_is_refused(self, document, refusal, path):
        """Files stay in the folder of their source."""
        error = refusal(spoilt(document, (*FILE, "path"), path))

        assert error.path == f"{VARIANT}.files[0].path"

    @pytest.mark.parametrize("name", ["w.bin", "w.pt", "w.gguf.pkl", "w.GGUF", "w.gguf\n", "gguf"])
    def test_suffix_that_is_not_weights_is_refused(self, document, refusal, name):
        """No pickle, no code."""
        error = refusal(spoilt(document, (*FILE, "path"), name))

        assert error.path == f"{VARIANT}.files[0].path"
        assert "suffix" in error.reason

    def test_file_listed_twice_is_refused(self, document, refusal):
        """Each file once."""
        files = place(document, *FILE[:-1])
        files.append(dict(files[0]))

        assert "twice" in refusal(document).reason

    def test_wheel_variant_without_files_is_refused(self, document, refusal):
        """Nothing is served without a hash."""
        error = refusal(spoilt(document, FILE[:-1], []))

        assert error.path == VARIANT
        assert "sha256" in error.reason

    @pytest.mark.parametrize("revision", ["main", "v1.0", "0" * 39, "A" * 40])
    def test_revision_that_can_move_is_refused(self, document, refusal, revision):
        """Only a commit pins."""
        place(document, "models", "qwen3-8b", "variants", 0, "source")["revision"] = revision

        assert refusal(document).path == "$.models.qwen3-8b.variants[0].source.revision"

    def test_files_without_a_revision_are_refused(self, document, refusal):
        """Hashes of an unknown revision pin nothing."""
        variant = place(document, "models", "qwen3-8b", "variants", 0)
        variant["files"] = [{"path": "b.gguf", "size_bytes": 5, "sha256": "0" * 64}]

        assert "revision" in refusal(document).reason

    def test_revision_without_files_is_refused(self, document, refusal):
        """A revision alone is no pin."""
        place(document, "models", "qwen3-8b", "variants", 0, "source")["revision"] = "0" * 40

        assert "files" in refusal(document).reason

    def test_unpinned_without_filenames_is_refused(self, document, refusal):
        """A pin must know what to fetch."""
        del place(document, "models", "qwen3-8b", "variants", 0)["filenames"]

        assert "filenames" in refusal(document).reason

    @pytest.mark.parametrize("repo", ["qwen", "../x", "a/b/c", "é/b", "-a/b", "a/"])
    def test_odd_repository_is_refused(self, document, refusal, repo):
        """`owner/name`, plainly."""
        place(document, "models", "qwen3-8b", "variants", 0, "source")["repo"] = repo

        assert refusal(document).path == "$.models.qwen3-8b.variants[0].source.repo"


class TestText:
    @pytest.mark.parametrize("name", ["version", "models"])
    def test_repeated_key_is_refused(self, refusal, name):
        """Which of two values counts is nobody's guess."""
        error = refusal(f'{{"version": 1, "models": {{}}, "{name}": 1}}')

        assert error.path == "$"
        assert name in error.reason

    def test_repeated_key_inside_is_refused_where_it_stands(self, refusal):
        """The path leads to the object."""
        error = refusal('{"version": 1, "models": {"a b": [{"x": 1, "x": 2}]}}')

        assert error.path == '$.models["a b"][0]'

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"   \n",
            b"{",
            b"[1, 2",
            b"{'version': 1}",
            b'{"version": 1} trailing',
            b'{"version": 1}{}',
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00",
            b'{"version": "\xff"}',
            b"\x00",
            b"null",
            b"[]",
            b"1",
        ],
    )
    def test_what_is_no_json_object_is_refused(self, refusal, content):
        """Empty, cut, trailing, a byte order mark, another encoding."""
        assert refusal(content).path == "$"

    def test_trailing_garbage_after_the_whole_registry_is_refused(self, refusal):
        """The file ends where the object ends."""
        error = refusal(SHIPPED.read_text(encoding="utf-8") + "}")

        assert "Extra data" in error.reason

    def test_lone_surrogate_is_refused(self, document, refusal):
        """No text can hold one."""
        refusal(json.dumps(document).replace("Everyday", "\\ud800"))

    @pytest.mark.parametrize("opening", ["[", '{"a":'])
    @pytest.mark.parametrize("depth", [300, 100_000])
    def test_deep_nesting_is_refused(self, refusal, opening, depth):
        """No recursion runs away."""
        closing = {"[": "]", '{"a":': "}"}[opening]

        refusal(opening * depth + "1" + closing * depth)

    def test_ten_megabytes_are_refused_unread(self, refusal):
        """A registry is small."""
        error = refusal(b" " * 10_000_000)

        assert str(MAX_REGISTRY_BYTES) in error.reason


class TestFile:
    def test_missing_file_says_so(self, tmp_path):
        """The commonest mistake has its own words."""
        with pytest.raises(RegistryError) as caught:
            load_registry(tmp_path / "absent.json")

        assert caught.value.public_message == "absent.json: $: the file is missing"

    def test_folder_is_refused(self, tmp_path):
        """A folder is no file."""
        with pytest.raises(RegistryError) as caught:
            load_registry(tmp_path)

        assert "cannot be read" in caught.value.reason

    def test_impossible_name_is_refused(self):
        """A null byte in the path."""
        with pytest.raises(RegistryError):
            load_registry(Path("a\x00b"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_file_without_permission_is_refused(self, tmp_path):
        """The reason names the kind of error."""
        file = tmp_path / "models.json"
        file.write_text("{}")
        file.chmod(0)

        with pytest.raises(RegistryError) as caught:
            load_registry(file)

        assert "PermissionError" in caught.value.reason

    def test_error_of_the_system_is_translated(self, tmp_path):
        """Whatever `open` raises becomes the registry's error (as root, too)."""

        class Locked(type(tmp_path)):
            def open(self, *_args: object, **_options: object) -> None:
                raise PermissionError(13, "Permission denied")

        with pytest.raises(RegistryError) as caught:
            load_registry(Locked(tmp_path / "models.json"))

        assert "PermissionError" in caught.value.reason
        assert str(tmp_path) not in caught.value.public_message

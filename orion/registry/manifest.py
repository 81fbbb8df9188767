"""Folders of derived files: written whole or not at all, and checked before they are served.

A derived folder holds `manifest.json` with the size and sha256 of every other file in it
and of the source it was made from.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orion.errors import BadWeightsError, ConversionError, HomeNotWritableError, WeightsMissingError
from orion.registry.entries import FileEntry
from orion.registry.files import sha256_of, verify
from orion.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.registry.files import HashMemo

MANIFEST = "manifest.json"
_TEMPORARY = ".making-"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class SourceFile(BaseModel):
    """What a derived folder was made from; its name may be any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size_bytes: int
    sha256: str


class Manifest(BaseModel):
    """Where a derived folder comes from, what was chosen on the way, and what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceFile
    facts: dict[str, str]
    files: tuple[FileEntry, ...]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished folder; None where there is none to be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def source_of(path: Path) -> SourceFile:
    """Name, size and sha256 of a file as it is now."""
    return SourceFile(name=path.name, size_bytes=path.stat().st_size, sha256=sha256_of(path))


def verify_folder(model_id: str, folder: Path, *, memo: HashMemo, source_sha256: str) -> Manifest:
    """Check a derived folder: made from that source, every file as listed, none extra.

    Raises:
        WeightsMissingError: The folder is not finished, or a file is gone.
        BadWeightsError: A file differs, is a link, or was added.
    """
    hint = "It is made again at the next load."
    manifest = read_manifest(folder)
    if manifest is None:
        raise WeightsMissingError(model=model_id, file=MANIFEST, hint=hint)
    if manifest.source.sha256 != source_sha256:
        raise BadWeightsError(
            model=model_id,
            file=folder.name,
            expected=f"an import of {source_sha256}",
            got=f"an import of {manifest.source.sha256}",
        )
    listed = {entry.path for entry in manifest.files} | {MANIFEST}
    for path in sorted(folder.iterdir()):
        if path.name not in listed or path.is_symlink():
            kind = "a link" if path.is_symlink() else "a file"
            raise BadWeightsError(model=model_id, file=path.name, expected="no such file", got=kind)
    for entry in manifest.files:
        if not (folder / entry.path).is_file():
            raise WeightsMissingError(model=model_id, file=entry.path, hint=hint)
        verify(model_id, entry, folder / entry.path, memo=memo)
    return manifest


@contextlib.contextmanager
def derived_folder(out: Path, *, source: SourceFile, facts: dict[str, str]) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block ends well.

    Everything in it is hashed into the manifest, flushed to the disk and renamed in one
    step: a cut run leaves nothing under the final name. Where another process was
    quicker, its result stays. `facts` are read at the end, so the block may add some.

    Raises:
        HomeNotWritableError: The place cannot be written to.
        ConversionError: The disk is full.
    """
    with _disk_errors(out, source.name):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
    try:
        with _full_disk(out, source.name):
            yield temporary
        with _disk_errors(out, source.name):
            _finish(temporary, source, facts)
            _publish(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def discard(folder: Path) -> None:
    """Take a folder away from its name at once, then delete it, as far as that is allowed."""
    with contextlib.suppress(OSError):
        aside = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        try:
            folder.rename(aside / folder.name)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(out: Path, *, own: bool = False) -> None:
    """Delete temporary folders for `out` whose process is gone; with `own`, this one's too."""
    for path in out.parent.glob(f".{out.name}{_TEMPORARY}*"):
        pid = path.name.partition(_TEMPORARY)[2].partition("-")[0]
        if pid.isdigit() and ((own and int(pid) == os.getpid()) or not _is_alive(int(pid))):
            shutil.rmtree(path, ignore_errors=True)


def _prefix(out: Path) -> str:
    return f".{out.name}{_TEMPORARY}{os.getpid()}-"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def _disk_errors(out: Path, source: str) -> Iterator[None]:
    try:
        with _full_disk(out, source):
            yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise HomeNotWritableError(home=str(out.parent), reason=reason) from error


@contextlib.contextmanager
def _full_disk(out: Path, source: str) -> Iterator[None]:
    """Libraries wrap "no space left" in errors of their own; it reads the same in all."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in _NO_ROOM and os.strerror(errno.ENOSPC) not in str(error):
            raise
        free = format_bytes(shutil.disk_usage(_existing(out)).free)
        raise ConversionError(source=source, reason=f"the disk is full ({free} free)") from error


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def _finish(folder: Path, source: SourceFile, facts: dict[str, str]) -> None:
    files = tuple(
        FileEntry(path=path.name, size_bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(folder.iterdir())
    )
    body: dict[str, Any] = Manifest(source=source, facts=facts, files=files).model_dump()
    (folder / MANIFEST).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
        _flush(path)
    _flush(folder)


def _publish(temporary: Path, out: Path) -> None:
    try:
        temporary.rename(out)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or read_manifest(out) is None:
            raise
        return
    _flush(out.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

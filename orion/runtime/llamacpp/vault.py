"""States of slots in memory of this process that has no name: nothing of them outlives it."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orion.errors import GenerationError

if TYPE_CHECKING:
    from orion.runtime.llamacpp.port import ServerPort

SAVE_PATH = "/proc/self/fd/"
"""llama.cpp saves to and restores from files of one folder: here, our open memory files."""


def can_keep_states() -> bool:
    """Whether this system has memory files that can be opened by their number."""
    return sys.platform == "linux" and Path(SAVE_PATH).is_dir()


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A state in memory file number `file`."""

    file: int
    tokens: int
    size_bytes: int


class Vault:
    """Copies states between slots and memory files. Thread-safe.

    A file is emptied and used again, and never closed: a server that is late must not find
    another file under its number. One that an error has touched is not used again.
    """

    def __init__(self, port: ServerPort) -> None:
        self._port = port
        self._empty: list[int] = []
        self._lock = threading.Lock()

    def save(self, slot: int) -> Saved:
        """Keep the state of `slot`, which keeps it too.

        Raises:
            GenerationError: It was not done.
        """
        file = self._file()
        tokens = int(self._ask(slot, "save", file)["n_saved"])
        return Saved(file=file, tokens=tokens, size_bytes=os.fstat(file).st_size)

    def restore(self, slot: int, saved: Saved) -> None:
        """Bring a state into `slot` in place of what is there.

        Raises:
            GenerationError: It was not done; what the slot holds is unknown.
        """
        if self._ask(slot, "restore", saved.file)["n_restored"] != saved.tokens:
            raise GenerationError(reason="a state came back incomplete")

    def drop(self, saved: Saved) -> None:
        """Forget a state."""
        os.ftruncate(saved.file, 0)
        with self._lock:
            self._empty.append(saved.file)

    def _file(self) -> int:
        with self._lock:
            if self._empty:
                return self._empty.pop()
        try:
            made: int = os.memfd_create("orion-kv")  # type: ignore[attr-defined,unused-ignore]
        except OSError as error:
            raise GenerationError(reason="no memory for a state") from error
        return made

    def _ask(self, slot: int, action: str, file: int) -> dict[str, Any]:
        try:
            return self._port.post(f"/slots/{slot}?action={action}", {"filename": str(file)})
        except GenerationError:
            os.ftruncate(file, 0)
            raise

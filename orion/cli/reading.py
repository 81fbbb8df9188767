"""What commands read: text and JSONL from files and standard input, within a limit."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from orion.errors import InvalidQueryError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

MAX_BYTES = 2_000_000
"""Of one message, one history or one line; the engine's own limits are tighter."""


def read_stdin(*, field: str) -> str:
    """Standard input as text.

    Raises:
        InvalidQueryError: It is not UTF-8.
        TooLargeError: It is longer than a message may be.
    """
    return _text(_limited(sys.stdin.buffer, field=field), field=field).rstrip("\r\n")


def read_bytes(file: Path, *, field: str) -> bytes:
    """A small file.

    Raises:
        InvalidQueryError: It cannot be read.
        TooLargeError: It is not small.
    """
    with open_binary(file, field=field) as stream:
        return _limited(stream, field=field)


def open_binary(file: Path, *, field: str) -> BinaryIO:
    """The file, or standard input for `-`.

    Raises:
        InvalidQueryError: It cannot be read.
    """
    if str(file) == "-":
        return sys.stdin.buffer
    try:
        return file.open("rb")
    except (OSError, ValueError) as error:
        reason = f"{file.name} cannot be read ({type(error).__name__})"
        raise InvalidQueryError(field=field, reason=reason) from error


def jsonl_texts(stream: BinaryIO) -> Iterator[str | InvalidQueryError]:
    """The `text` of each line, or why it has none. Blank lines are passed over."""
    while line := stream.readline(MAX_BYTES + 1):
        if len(line) > MAX_BYTES and not line.endswith(b"\n"):
            _skip_line(stream)
            yield TooLargeError(field="line", size="too many", limit=MAX_BYTES, unit="bytes")
        elif line.strip():
            yield _text_of_line(line)


def _text_of_line(line: bytes) -> str | InvalidQueryError:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return InvalidQueryError(field="line", reason="is no JSON")
    text = value.get("text") if isinstance(value, dict) else None
    if isinstance(text, str):
        return text
    return InvalidQueryError(field="line", reason='is no object with a "text" string')


def _skip_line(stream: BinaryIO) -> None:
    while (rest := stream.readline(MAX_BYTES)) and not rest.endswith(b"\n"):
        continue


def _limited(stream: BinaryIO, *, field: str) -> bytes:
    try:
        body = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = f"cannot be read ({type(error).__name__})"
        raise InvalidQueryError(field=field, reason=reason) from error
    if len(body) > MAX_BYTES:
        size = f"more than {MAX_BYTES}"
        raise TooLargeError(field=field, size=size, limit=MAX_BYTES, unit="bytes")
    return body


def _text(body: bytes, *, field: str) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidQueryError(field=field, reason="is not UTF-8 text") from error

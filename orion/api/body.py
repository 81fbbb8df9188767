"""Bytes of a request → a JSON object, refused at the first byte that is too much."""

from __future__ import annotations

import asyncio
import json
import math
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from starlette.requests import ClientDisconnect

from orion.errors import DeadlineExceededError, InvalidQueryError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.datastructures import Headers
    from starlette.types import Receive

MAX_DEPTH = 16
TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
READ_LIMIT_S = 30.0
OFF_LOOP_BYTES = 64 * 1024
"""From here on parsing takes milliseconds and leaves the event loop."""


async def read_object(receive: Receive, headers: Headers, *, limit_bytes: int) -> dict[str, Any]:
    """The request body as a JSON object.

    Raises:
        TooLargeError: More than `limit_bytes`, announced or sent.
        InvalidQueryError: No JSON object, or the headers speak against it.
        DeadlineExceededError: The body did not arrive within `READ_LIMIT_S`.
        ClientDisconnect: The client left before its body was complete.
    """
    check_headers(headers, limit_bytes=limit_bytes)
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            body = await _read(receive, limit_bytes)
    except TimeoutError as error:
        raise DeadlineExceededError(phase="reading the request", limit_s=READ_LIMIT_S) from error
    if len(body) < OFF_LOOP_BYTES:
        return parse_object(body)
    return await asyncio.to_thread(parse_object, body)


def check_headers(headers: Headers, *, limit_bytes: int) -> None:
    """Refuse what the headers already tell.

    Any content type is taken as JSON, but a web page has to say `application/json`:
    that makes a browser ask first, so that no foreign site can post here unseen.

    Raises:
        TooLargeError: `Content-Length` is above `limit_bytes`.
        InvalidQueryError: Compressed, or posted by a page as something else than JSON.
    """
    length = headers.get("content-length", "")
    # A sane HTTP server only lets digits through; anything else is counted while reading.
    if length.isascii() and length.isdigit() and int(length[:19]) > limit_bytes:
        raise _too_large(int(length[:19]), limit_bytes)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidQueryError(
            field="Content-Encoding", reason="is not supported: send plain JSON"
        )
    from_page = "origin" in headers or "sec-fetch-mode" in headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if from_page and media_type != "application/json":
        raise InvalidQueryError(field="Content-Type", reason="must be application/json")


async def _read(receive: Receive, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise _too_large(size, limit_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(size: int, limit_bytes: int) -> TooLargeError:
    return TooLargeError(field="body", size=size, limit=limit_bytes, unit="bytes")


def parse_object(body: bytes) -> dict[str, Any]:
    """`body` as a JSON object whose text is all proper text.

    Raises:
        InvalidQueryError: Empty, no UTF-8, no JSON, no object, deeper than `MAX_DEPTH`,
            or with a number or a character that nothing downstream can use.
    """
    if not body.strip():
        _refuse("is empty: send a JSON object")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(f"is no UTF-8 (byte {error.start})", error)
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        _refuse(f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}", error)
    except RecursionError as error:
        _refuse(TOO_DEEP, error)
    except ValueError as error:
        _refuse(f"is no usable JSON: {str(error).partition(';')[0][:200]}", error)
    if not isinstance(value, dict):
        _refuse("must be a JSON object")
    _check_values(value)
    return value


def _refuse(reason: str, cause: Exception | None = None) -> NoReturn:
    raise InvalidQueryError(field="body", reason=reason) from cause


def _no_constant(name: str) -> None:
    msg = f"{name} is no JSON number"
    raise ValueError(msg)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        msg = "a number is too large"
        raise ValueError(msg)
    return number


def _check_values(value: dict[str, Any]) -> None:
    """Walk level by level: depth, and every string, keys included."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            for child in _members(container):
                if isinstance(child, str):
                    _check_text(child)
                elif isinstance(child, dict | list):
                    below.append(child)
        level = below
    if level:
        _refuse(TOO_DEEP)


def _members(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return chain(container, container.values()) if isinstance(container, dict) else container


def _check_text(text: str) -> None:
    if "\x00" in text:
        _refuse("holds a null character (\\u0000)")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = f"\\u{ord(text[error.start]):04x}"
            _refuse(f"holds half a surrogate pair ({code})", error)

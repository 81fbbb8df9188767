"""Frames ⇄ bytes. A frame is a 4-byte big-endian length and a msgpack `[kind, fields]`."""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING, Any, get_args

import msgpack

from orion.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.protocol.frames import Frame

MAX_FRAME_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_CLASSES: dict[str, type[Any]] = {cls.__name__: cls for cls in get_args(frames.Frame)}
_FIELDS = {
    name: tuple(field.name for field in dataclasses.fields(cls)) for name, cls in _CLASSES.items()
}


class FrameError(Exception):
    """The other side sent something that is no frame; the pipe cannot be trusted any more."""


def encode(frame: Frame) -> bytes:
    """`frame` as bytes for the pipe.

    Raises:
        FrameError: Larger than `MAX_FRAME_BYTES`, or it holds text that is no UTF-8
            (a lone surrogate).
    """
    name = type(frame).__name__
    try:
        body: bytes = msgpack.packb([name, [getattr(frame, field) for field in _FIELDS[name]]])
    except UnicodeEncodeError as error:
        msg = f"{name} holds text that is no UTF-8"
        raise FrameError(msg) from error
    if len(body) > MAX_FRAME_BYTES:
        msg = f"{name} of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}"
        raise FrameError(msg)
    return _LENGTH.pack(len(body)) + body


def _decode(body: bytes) -> Frame:
    try:
        name, values = msgpack.unpackb(body, strict_map_key=False)
        made: Frame = _CLASSES[name](**dict(zip(_FIELDS[name], values, strict=True)))
    except Exception as error:
        msg = f"{len(body)} bytes that are no frame"
        raise FrameError(msg) from error
    return made


class FrameDecoder:
    """Bytes as they arrive → whole frames, in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame whose rest has not come."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames completed by `data`.

        Raises:
            FrameError: A length beyond `MAX_FRAME_BYTES`, or a body that is no frame.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                msg = f"a frame of {length} bytes is announced"
                raise FrameError(msg)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _decode(body)

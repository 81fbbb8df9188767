"""Frames ⇄ bytes. A frame is a 4-byte big-endian length and a msgpack `[kind, fields]`."""

from __future__ import annotations

import dataclasses
import struct
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import msgpack

from orion.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orion.protocol.frames import Frame

MAX_FRAME_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")


def _allowed(hint: Any) -> tuple[type, ...]:
    """The classes a field's value may have on the wire; a whole number is a float too."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    plain = tuple(get_origin(part) or part for part in parts)
    return (*plain, int) if float in plain else plain


def _fields(cls: type[Any]) -> dict[str, tuple[type, ...]]:
    hints = get_type_hints(cls)
    return {field.name: _allowed(hints[field.name]) for field in dataclasses.fields(cls)}


_CLASSES: MappingProxyType[str, type[Any]] = MappingProxyType(
    {cls.__name__: cls for cls in get_args(frames.Frame)}
)
_FIELDS = MappingProxyType({name: _fields(cls) for name, cls in _CLASSES.items()})


class FrameError(Exception):
    """The other side sent something that is no frame; the pipe cannot be trusted any more."""


def encode(frame: Frame) -> bytes:
    """`frame` as bytes for the pipe.

    Raises:
        FrameError: Larger than `MAX_FRAME_BYTES`, or it holds what cannot travel: text
            that is no UTF-8 (a lone surrogate), an object, a number beyond 64 bits.
    """
    name = type(frame).__name__
    try:
        values = [getattr(frame, field) for field in _FIELDS[name]]
        _check(name, values)
        body: bytes = msgpack.packb([name, values])
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{name} holds what cannot travel ({type(error).__name__})"
        raise FrameError(msg) from error
    if len(body) > MAX_FRAME_BYTES:
        msg = f"{name} of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}"
        raise FrameError(msg)
    return _LENGTH.pack(len(body)) + body


def _check(name: str, values: Any) -> None:
    """Both ends check the class of every field: neither then looks twice."""
    if not isinstance(values, list):
        raise TypeError(name)
    for (field, allowed), value in zip(_FIELDS[name].items(), values, strict=True):
        if not isinstance(value, allowed):
            msg = f"{field} of {name} is a {type(value).__name__}"
            raise TypeError(msg)


def _decode(body: bytes) -> Frame:
    try:
        name, values = msgpack.unpackb(body, strict_map_key=False)
        _check(name, values)
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

"""Frames between the parent and a worker: length-prefixed msgpack over a private pipe."""

from orion.protocol.codec import MAX_FRAME_BYTES, FrameDecoder, FrameError, encode
from orion.protocol.frames import (
    Delta,
    Done,
    Exit,
    Failed,
    Frame,
    Generate,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Prefilling,
    Ready,
    Started,
    Stop,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "Delta",
    "Done",
    "Exit",
    "Failed",
    "Frame",
    "FrameDecoder",
    "FrameError",
    "Generate",
    "Heartbeat",
    "Load",
    "LoadFailed",
    "LoadProgress",
    "Loaded",
    "Prefilling",
    "Ready",
    "Started",
    "Stop",
    "encode",
]

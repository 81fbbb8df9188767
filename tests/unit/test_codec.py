"""Frames on the wire: what goes in comes out, and nothing else is taken for a frame."""

from __future__ import annotations

import struct
import tracemalloc
from typing import get_args

import msgpack
import pytest

from orion import protocol
from orion.protocol import (
    MAX_FRAME_BYTES,
    Delta,
    Done,
    Exit,
    Failed,
    Frame,
    FrameDecoder,
    FrameError,
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
    encode,
)

EVERY_FRAME: list[Frame] = [
    Load(
        model="m",
        variant={"id": "q4", "files": [{"path": "a.gguf", "size_bytes": 5}]},
        home="/srv/orion",
        slots=4,
        context_tokens=4096,
        threads=2,
        options={"n": None},
        fault="slow",
    ),
    Generate(
        request_id="r1",
        messages=[["system", "Sois bref."], ["user", "Ça va ? 🦉"]],
        sampling={"temperature": 0.7, "stop": ["\n\n"], "seed": 2**32 - 1},
        trim_history=True,
        interval_s=0.0,
        deadline_s=86_400.5,
        fault="hang",
    ),
    Stop(request_id="r1"),
    Exit(),
    Ready(pid=12, runtime="fake", seconds=0.25),
    LoadProgress(phase="loading_shard", ratio=None),
    LoadProgress(phase="loading_shard", ratio=0.5, detail="unit 3"),
    Loaded(
        model="m",
        slots=2,
        context_tokens=2048,
        memory_bytes=2**40,
        seconds=1.5,
        details={"device_map": {0: "cuda"}},
    ),
    LoadFailed(model="m", code="bad_weights", facts={"file": "a", "got": 3}, detail="trace"),
    Started(request_id="r1", prompt_tokens=12, trimmed_messages=1),
    Prefilling(request_id="r1", read_tokens=128, prompt_tokens=3481),
    Delta(request_id="r1", seq=0, text="Salut \u0000 là", num_tokens=2),
    Done(
        request_id="r1",
        finish_reason="stop",
        prompt_tokens=12,
        cached_tokens=3,
        completion_tokens=20,
        prefill_s=0.1,
        decode_s=0.2,
    ),
    Failed(request_id="r1", code="generation_failed", facts={"reason": "no"}),
    Heartbeat(rss_bytes=1, num_tokens=2, active=3),
]


def decode(data: bytes) -> list[Frame]:
    """Everything in `data`."""
    return list(FrameDecoder().feed(data))


def packed(value: object) -> bytes:
    """`value` as the body of a frame."""
    body = msgpack.packb(value)
    return struct.pack(">I", len(body)) + body


class TestRoundTrip:
    @pytest.mark.parametrize("frame", EVERY_FRAME, ids=lambda frame: type(frame).__name__)
    def test_a_frame_comes_out_as_it_went_in(self, frame):
        """Every field, whatever its kind."""
        assert decode(encode(frame)) == [frame]

    def test_every_kind_of_frame_is_tried(self):
        """A new frame needs an example here."""
        assert {type(frame) for frame in EVERY_FRAME} == set(get_args(Frame))
        assert {cls.__name__ for cls in get_args(Frame)} <= set(protocol.__all__)

    def test_a_whole_number_is_good_where_a_fraction_is_expected(self):
        """A clock may say 2 for 2.0."""
        assert decode(encode(Ready(pid=1, runtime="fake", seconds=2))) == [
            Ready(pid=1, runtime="fake", seconds=2.0)
        ]


class TestDecoder:
    def test_frames_come_out_as_soon_as_they_are_whole(self):
        """Byte by byte, each at its last byte."""
        decoder = FrameDecoder()
        data = encode(Stop(request_id="r1"))

        out = [list(decoder.feed(data[index : index + 1])) for index in range(len(data))]

        assert out[-1] == [Stop(request_id="r1")]
        assert not any(out[:-1])
        assert decoder.pending_bytes == 0

    def test_what_is_not_whole_waits(self):
        """And is counted."""
        decoder = FrameDecoder()

        assert list(decoder.feed(encode(Exit())[:5])) == []
        assert decoder.pending_bytes == 5

    def test_an_announced_giant_is_refused_before_it_is_stored(self):
        """Four bytes cannot make the reader hold four gigabytes."""
        tracemalloc.start()
        try:
            with pytest.raises(FrameError, match="announced"):
                decode(struct.pack(">I", MAX_FRAME_BYTES + 1))
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize(
        "value",
        [
            None,
            7,
            "Exit",
            [],
            ["Exit"],
            ["Exit", [], 1],
            ["Exit", ""],
            ["Stop", "r"],
            ["Nothing", []],
            [["Exit"], []],
            ["Stop", []],
            ["Stop", ["r1", "r2"]],
            ["Stop", [["r1"]]],
            ["Stop", [None]],
            ["Delta", ["r1", 0, 5, 1]],
            ["Delta", ["r1", 0.5, "text", 1]],
            ["Failed", ["r1", "code", [], ""]],
            ["FrameError", []],
            {"Exit": []},
        ],
        ids=repr,
    )
    def test_what_is_no_frame_is_refused(self, value):
        """Unknown kinds, missing, surplus and wrong fields."""
        with pytest.raises(FrameError, match="no frame"):
            decode(packed(value))

    def test_a_frame_before_the_garbage_is_still_delivered(self):
        """What was said before the pipe broke was said."""
        frames = FrameDecoder().feed(encode(Exit()) + packed(7))

        assert next(frames) == Exit()
        with pytest.raises(FrameError):
            next(frames)

    def test_deep_nesting_is_refused_not_followed(self):
        """A body that opens ten thousand lists ends in an error, not in the stack."""
        body = b"\x91" * 10_000
        with pytest.raises(FrameError):
            decode(struct.pack(">I", len(body)) + body)


class TestEncode:
    @pytest.mark.parametrize(
        "facts",
        [{"reason": "\ud800"}, {"reason": object()}, {"reason": 2**64}, {"reason": {1, 2}}],
        ids=["surrogate", "object", "too many bits", "set"],
    )
    def test_what_cannot_travel_is_refused(self, facts):
        """One error of our own, whatever the library raises."""
        with pytest.raises(FrameError, match="Failed holds what cannot travel"):
            encode(Failed(request_id="r1", code="orion", facts=facts))

    def test_a_field_of_the_wrong_kind_is_refused_where_it_is_made(self):
        """Not in the parent, which could only end the worker for it."""
        with pytest.raises(FrameError, match="Stop holds"):
            encode(Stop(request_id=5))

    def test_a_giant_is_refused(self):
        """The limit binds both ends."""
        with pytest.raises(FrameError, match="over the limit"):
            encode(Delta(request_id="r1", seq=0, text="x" * MAX_FRAME_BYTES, num_tokens=1))

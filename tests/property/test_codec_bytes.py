"""Any split of a byte stream gives the same frames, and any bytes give frames or an error."""

from __future__ import annotations

import struct
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from orion.protocol import (
    MAX_FRAME_BYTES,
    Delta,
    Exit,
    Failed,
    Frame,
    FrameDecoder,
    FrameError,
    Heartbeat,
    LoadProgress,
    encode,
)

TEXT = st.text(max_size=40)
COUNT = st.integers(0, 2**40)
FRAMES = st.one_of(
    st.builds(Delta, request_id=TEXT, seq=COUNT, text=TEXT, num_tokens=COUNT),
    st.builds(Heartbeat, rss_bytes=COUNT, num_tokens=COUNT, active=COUNT),
    st.builds(LoadProgress, phase=TEXT, ratio=st.none() | st.floats(0, 1), detail=TEXT),
    st.builds(
        Failed,
        request_id=TEXT,
        code=TEXT,
        facts=st.dictionaries(TEXT, st.none() | TEXT | COUNT | st.booleans()),
        detail=TEXT,
    ),
    st.just(Exit()),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in slices that end at `cuts`."""
    ends = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_gives_the_same_frames(frames, cuts):
    """The pipe may cut anywhere, also inside the length."""
    decoder = FrameDecoder()
    data = b"".join(map(encode, frames))

    out = [frame for piece in pieces(data, cuts) for frame in decoder.feed(piece)]

    assert out == frames
    assert decoder.pending_bytes == 0


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_give_frames_or_an_error_of_ours(chunks):
    """Nothing else is raised, and no more is kept than came."""
    decoder = FrameDecoder()
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                assert isinstance(frame, get_args(Frame))
            assert decoder.pending_bytes <= sum(map(len, chunks))
    except FrameError:
        pass


@given(st.binary(min_size=1, max_size=200))
def test_any_body_gives_one_frame_or_an_error(body):
    """With a length that fits, the body is judged at once."""
    decoder = FrameDecoder()
    try:
        assert len(list(decoder.feed(struct.pack(">I", len(body)) + body))) == 1
    except FrameError:
        return
    assert decoder.pending_bytes == 0


@given(FRAMES, st.data())
def test_one_wrong_byte_never_raises_anything_else(frame, data):
    """A flipped byte gives another frame, a wait for more, or an error."""
    raw = bytearray(encode(frame))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    decoder = FrameDecoder()
    try:
        list(decoder.feed(bytes(raw)))
    except FrameError:
        return
    assert decoder.pending_bytes <= MAX_FRAME_BYTES

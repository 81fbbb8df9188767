"""Whatever is asked by whom, nobody's tokens are reused by another session."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.slots import FakeSlots

SYSTEM = list(range(16))
PROMPTS = [
    SYSTEM + [100 + kind] * length for kind in range(3) for length in (1, 30, 64, 65, 150, 300)
]
asks = st.tuples(
    st.sampled_from(["", *(f"session {number}" for number in range(6))]),
    st.sampled_from(PROMPTS),
    st.sampled_from([0, len(SYSTEM)]),
    st.booleans(),
    st.sets(st.sampled_from(["save", "restore"])),
)


class TestOperations:
    @settings(max_examples=150)
    @given(
        num_slots=st.integers(1, 4),
        max_bytes=st.sampled_from([0, 200, 1000, 5000]),
        asked=st.lists(asks, max_size=60),
    )
    def test_a_session_finds_its_own_words_and_everybodys(self, num_slots, max_bytes, asked):
        """For any order of sessions, prompts, seeds and failures; within the bytes given."""
        slots = FakeSlots(num_slots, max_bytes=max_bytes)

        for session, ids, shared, anew, broken in asked:
            slots.broken = broken
            found = slots.answer(session, ids, shared=shared, anew=anew)

            writers = {writer for _, writer in found}
            assert writers <= ({""} if not session else {"", session})
            assert not (anew and found)
            assert session or len(found) <= shared
            assert slots.reuse._store.size_bytes <= max_bytes

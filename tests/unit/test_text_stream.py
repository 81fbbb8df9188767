"""Text as it arrives: whole characters, no part of a stop string, any split the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orion.runtime.text_stream import Detokenizer, StopMatcher, TextStream


def decode_bytes(ids: list[int]) -> str:
    """A tokenizer with one token per byte."""
    return bytes(ids).decode("utf-8", "replace")


def cut_at_first_stop(text: str, stops: list[str]) -> str:
    """What should be delivered: text up to the stop string that ends first."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


class TestDetokenizer:
    @given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
    def test_bytes_one_by_one_give_the_text_back(self, text):
        """Characters of several tokens come out whole, in one piece."""
        characters = Detokenizer(decode_bytes)

        pieces = [characters.push(byte) for byte in text.encode()] + [characters.finish()]

        assert "".join(pieces) == text
        assert all(piece in text for piece in pieces)

    def test_half_a_character_is_held_back(self):
        """No replacement character is shown for what is still to come."""
        characters = Detokenizer(decode_bytes)

        assert [characters.push(byte) for byte in "é!".encode()] == ["", "é", "!"]

    def test_bytes_that_never_become_a_character_come_out_at_the_end(self):
        """A broken tail is shown once, as U+FFFD."""
        characters = Detokenizer(decode_bytes)

        assert characters.push(0xE2) == ""
        assert characters.finish() == "\ufffd"
        assert characters.finish() == ""

    @given(data=st.binary(max_size=40))
    def test_any_bytes_give_what_decoding_at_once_gives(self, data):
        """Streaming changes nothing, even for garbage."""
        characters = Detokenizer(decode_bytes)

        text = "".join([characters.push(byte) for byte in data]) + characters.finish()

        assert text == decode_bytes(list(data))

    def test_a_long_run_of_broken_bytes_does_not_wait_for_ever(self):
        """At most three characters are held back."""
        characters = Detokenizer(decode_bytes)

        text = "".join(characters.push(0xFF) for _ in range(50))

        assert len(text) >= 47


class TestStopMatcher:
    @given(
        text=st.text(alphabet="ab<>\n", max_size=30),
        stops=st.lists(st.text(alphabet="ab<>\n", min_size=1, max_size=4), max_size=3),
        cuts=st.lists(st.integers(0, 30), max_size=6),
    )
    def test_any_split_gives_the_same_text(self, text, stops, cuts):
        """Pieces do not matter, and no part of a stop string is ever delivered."""
        places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
        matcher = StopMatcher(stops)

        pieces = [matcher.push(text[start:end]) for start, end in pairwise(places)]

        whole = cut_at_first_stop(text, stops)
        assert "".join(pieces) + matcher.finish() == whole
        assert (matcher.matched is not None) == (whole != text)

    def test_what_may_become_a_stop_string_is_held_back(self):
        """It is delivered as soon as it cannot be one any more."""
        matcher = StopMatcher(["END"])

        assert [matcher.push(piece) for piece in ("a E", "N", "Z", "END", "more")] == [
            "a ",
            "",
            "ENZ",
            "",
            "",
        ]
        assert matcher.matched == "END"

    def test_an_empty_stop_string_is_no_stop_string(self):
        """It would end every answer before it began."""
        assert StopMatcher([""]).push("abc") == "abc"


class TestTextStream:
    def test_a_stop_string_over_several_tokens_ends_the_text(self):
        """What follows is never shown."""
        stream = TextStream(decode_bytes, ["é!"])

        text = "".join(stream.push(byte) for byte in "hé héé! no".encode())

        assert text + stream.finish() == "hé hé"
        assert stream.stopped

    def test_what_was_held_back_is_shown_when_no_stop_string_came(self):
        """Nothing is lost at the end."""
        stream = TextStream(decode_bytes, ["END"])

        text = "".join(stream.push(byte) for byte in b"the EN")

        assert text == "the "
        assert stream.finish() == "EN"
        assert not stream.stopped

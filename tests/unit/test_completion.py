"""A completion of llama.cpp's server, chunk by chunk, without the server."""

from __future__ import annotations

from typing import Any

import pytest

from orion.errors import GenerationError
from orion.runtime.completion import Completion
from orion.runtime.llamacpp import server
from orion.runtime.llamacpp.server import prefill_slice, read_ahead
from orion.types import FinishReason
from tests.fakes.tiny_model import Recorder


def chunk(text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "index": 0, "finish_reason": finish}], **more}


def progress(read: int) -> dict[str, Any]:
    return chunk(prompt_progress={"total": 300, "cache": 0, "processed": read, "time_ms": 5})


class TestPrefill:
    def test_a_slice_that_is_read_is_progress_and_no_token(self):
        """Its chunk looks like one of text."""
        output = Recorder()
        completion = Completion(output, prompt_tokens=300)

        assert [completion.on_chunk(progress(read)) for read in (0, 256, 300)] == [False] * 3

        assert output.read == [(0, 300), (256, 300), (300, 300)]
        assert output.pieces == []

    def test_a_stop_is_heard_after_a_slice(self):
        """The server is told by the callback's True; no token was made."""
        completion = Completion(Recorder(limit=0), prompt_tokens=300)

        assert completion.on_chunk(progress(256)) is True

        done = completion.generated()
        assert (done.finish_reason, done.completion_tokens) == (FinishReason.CANCELLED, 0)
        assert done.prompt_tokens == 300


class TestDecode:
    def test_tokens_are_handed_on_and_counted(self):
        """The last chunk brings the server's own count and no token of its own."""
        output = Recorder()
        completion = Completion(output, prompt_tokens=3)
        usage, timings = {"completion_tokens": 3}, {"cache_n": 2}

        for text in ("a", "b"):
            completion.on_chunk(chunk(text))
        completion.on_chunk(chunk("c", "length", usage=usage, timings=timings))

        done = completion.generated()
        assert output.pieces == [("a", 1), ("b", 1), ("c", 0)]
        assert (done.finish_reason, done.completion_tokens) == (FinishReason.LENGTH, 3)
        assert done.cached_tokens == 2

    def test_an_end_of_turn_at_once_is_a_stop_without_text(self):
        """What becomes of it is the loop's to judge."""
        output = Recorder()
        completion = Completion(output, prompt_tokens=3)

        completion.on_chunk(chunk("", "stop", usage={"completion_tokens": 1}))

        assert completion.generated().finish_reason is FinishReason.STOP
        assert output.pieces == []

    def test_an_error_of_the_server_is_ours(self):
        """Cut to a line."""
        completion = Completion(Recorder(), prompt_tokens=3)

        assert completion.on_chunk({"error": {"message": "x" * 500}}) is True
        with pytest.raises(GenerationError) as caught:
            completion.generated()
        assert caught.value.facts == {"reason": "x" * 200}

    def test_what_goes_wrong_in_the_callback_is_not_swallowed(self):
        """The library ends the completion and says nothing; the error comes out at its end."""

        class Broken(Recorder):
            def piece(self, text: str, num_tokens: int) -> None:
                raise MemoryError

        completion = Completion(Broken(), prompt_tokens=3)

        assert completion.on_chunk(chunk("a")) is True
        with pytest.raises(MemoryError):
            completion.generated()


class TestReadAhead:
    def test_it_tells_how_far_it_is(self, tmp_path, monkeypatch):
        """From nothing to all, and never back."""
        monkeypatch.setattr(server, "_READ_BYTES", 10)
        file = tmp_path / "weights"
        file.write_bytes(b"x" * 1000)
        ratios: list[float] = []

        read_ahead(file, ratios.append)

        assert ratios[0] == 0.0
        assert ratios == sorted(ratios)
        assert 0.9 < ratios[-1] <= 1.0
        assert len(ratios) < 25

    def test_a_file_without_bytes_is_no_error(self, tmp_path):
        """Others refuse it."""
        (tmp_path / "weights").write_bytes(b"")

        read_ahead(tmp_path / "weights", lambda ratio: None)


class TestPrefillSlice:
    @pytest.mark.parametrize(
        ("file_mb", "threads", "tokens"),
        [(98, 1, 128), (98, 2, 256), (98, 4, 512), (98, 32, 512), (400, 2, 64), (5000, 2, 64)],
    )
    def test_it_follows_the_work_there_is(self, file_mb, threads, tokens):
        """Fewer tokens of a larger model, more on more cores, within bounds."""
        assert prefill_slice(file_mb * 1_000_000, threads) == tokens

    def test_a_file_without_bytes_is_no_error(self):
        """Others refuse it."""
        assert prefill_slice(0, 1) == 512


class TestSettling:
    def test_a_slot_is_at_work_a_moment_longer_after_a_stop_in_mid_answer(self):
        """Two tokens of the pace just seen, and never more than a tenth of a second."""
        completion = Completion(Recorder(limit=2), prompt_tokens=3)
        assert completion.settle_s == 0.0
        completion.on_chunk(chunk("a"))
        assert completion.on_chunk(chunk("b")) is True

        assert 0.0 < completion.settle_s <= 0.1

    def test_an_answer_that_ended_by_itself_has_nothing_in_flight(self):
        """Its slot is free at once."""
        completion = Completion(Recorder(), prompt_tokens=3)
        completion.on_chunk(chunk("a"))
        completion.on_chunk(chunk("b", "stop"))

        assert completion.settle_s == 0.0

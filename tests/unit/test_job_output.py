"""What becomes of the pieces of an answer on their way out of the worker."""

from __future__ import annotations

import time

from orion.protocol import Frame, Prefilling
from orion.runtime import output as output_module
from orion.runtime.output import JobOutput
from tests.fakes.bench import NEVER_S


def recorded(interval_s: float = 0.0, deadline_s: float | None = None):
    """An output and the frames it sends."""
    sent: list[Frame] = []
    return JobOutput("r1", sent.append, interval_s, deadline_s=deadline_s), sent


class TestPieces:
    def test_the_first_piece_never_waits(self):
        """Those that follow closely travel as one."""
        output, sent = recorded(NEVER_S)

        for number in range(4):
            output.piece(f"t{number} ", 1)
        assert [frame.text for frame in sent] == ["t0 "]
        output.flush()

        assert [(frame.seq, frame.text, frame.num_tokens) for frame in sent] == [
            (0, "t0 ", 1),
            (1, "t1 t2 t3 ", 3),
        ]
        assert output.num_tokens == 4

    def test_tokens_without_text_are_counted_with_the_next_text(self):
        """Half a character is a token too; an empty piece is not sent."""
        output, sent = recorded()

        output.piece("", 1)
        assert sent == []
        output.piece("é", 1)
        output.flush()

        assert [(frame.text, frame.num_tokens) for frame in sent] == [("é", 2)]

    def test_without_an_interval_every_piece_travels_alone(self):
        """For those who want every token."""
        output, sent = recorded()

        for piece in "a b":
            output.piece(piece, 1)

        assert [frame.text for frame in sent] == ["a", " ", "b"]

    def test_white_space_at_the_start_waits_for_something_visible(self):
        """It is not lost, and nothing was delivered until there was something to see."""
        output, sent = recorded()

        output.piece(" ", 1)
        output.piece("\n", 1)
        assert (sent, output.is_visible, output.num_tokens) == ([], False, 2)
        output.piece("a", 1)

        assert [(frame.text, frame.num_tokens) for frame in sent] == [(" \na", 3)]
        assert output.is_visible


class TestStopped:
    def test_a_stop_is_seen(self):
        """From any thread."""
        output, _ = recorded()
        assert output.stopped is False

        output.stop()

        assert output.stopped is True

    def test_a_deadline_is_seen(self):
        """Whether it was asked for or not."""
        assert recorded(deadline_s=time.monotonic() - 0.001)[0].stopped is True
        assert recorded(deadline_s=time.monotonic() + NEVER_S)[0].stopped is False

    def test_a_stop_comes_before_a_deadline(self):
        """Either is enough."""
        output, _ = recorded(deadline_s=time.monotonic() + NEVER_S)

        output.stop()

        assert output.stopped is True


class TestPrefilling:
    def test_it_is_told_now_and_then(self, monkeypatch):
        """However often the runtime knows."""
        output, sent = recorded()

        for read in range(100):
            output.prefilling(read, 100)
        assert sent == []
        monkeypatch.setattr(output_module, "_PREFILLING_EVERY_S", 0.0)
        output.prefilling(70, 100)

        assert sent == [Prefilling(request_id="r1", read_tokens=70, prompt_tokens=100)]

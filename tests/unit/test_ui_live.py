"""Events become updates of a page, at its pace."""

from __future__ import annotations

from collections.abc import Iterator

from orion.clock import ManualClock
from orion.types import DeltaEvent, Event, ProgressEvent, RequestState, RouteEvent, StateEvent
from orion.ui.live import CHARS_PER_PACE, PACE_S, paced
from tests.fakes.engine import Call, answering, delta, falling_back, final, route_of

CALL = Call("hello", {"request_id": "r1"})


def timed(clock: ManualClock, *events: tuple[float, Event]) -> Iterator[Event]:
    """Each event after its pause."""
    for pause_s, event in events:
        clock.advance(pause_s)
        yield event


class TestPaced:
    def test_the_first_text_is_told_at_once(self) -> None:
        """Whatever was told a moment ago."""
        clock = ManualClock()
        state = StateEvent(request_id="r1", state=RequestState.INFERENCING, elapsed_s=0)
        events = timed(clock, (0.0, state), (0.001, delta(CALL, "H")))

        assert [live.text for live in paced(events, clock)] == ["", "H"]

    def test_close_pieces_are_told_together(self) -> None:
        """At most one update per pace, and nothing lost at the end."""
        clock = ManualClock()
        pieces = [(0.01, delta(CALL, "x")) for _ in range(20)]
        events = timed(clock, *pieces, (0.0, final(CALL, "x" * 20)))

        texts = [live.text for live in paced(events, clock)]

        assert len(texts) <= 20 * 0.01 / PACE_S + 3
        assert texts[-1] == "x" * 20

    def test_long_texts_are_told_less_often(self) -> None:
        """The cost of an update grows with the text."""
        clock = ManualClock()
        events = timed(
            clock,
            (0.0, delta(CALL, "x" * (2 * CHARS_PER_PACE))),
            (1.5 * PACE_S, delta(CALL, "y")),
            (2.0 * PACE_S, delta(CALL, "z")),
        )

        assert [live.text[-1] for live in paced(events, clock)] == ["x", "z"]

    def test_a_heartbeat_is_told(self) -> None:
        """So that a caller who left is noticed."""
        clock = ManualClock()
        beat = ProgressEvent(request_id="r1", phase="queue", elapsed_s=0.0)

        assert len(list(paced(timed(clock, (0.25, beat), (0.25, beat)), clock))) == 2

    def test_gathers_what_is_known(self) -> None:
        """Agent, model, tokens, states; a state ends the wait before it."""
        events: list[Event] = [
            ProgressEvent(request_id="r1", phase="queue", elapsed_s=0.0),
            RouteEvent(request_id="r1", route=route_of("code-agent"), model="m"),
            StateEvent(request_id="r1", state=RequestState.INFERENCING, elapsed_s=0),
            DeltaEvent(request_id="r1", text="ab", num_tokens=2),
        ]

        live = list(paced(iter(events), ManualClock(), pace_s=0.0))[-1]

        assert (live.agent, live.model, live.num_tokens) == ("code-agent", "m", 2)
        assert live.states == [RequestState.INFERENCING]
        assert live.progress is None

    def test_a_fallback_changes_who_answers(self) -> None:
        """The second route counts, and states that come twice are both kept."""
        events = falling_back("code-agent", "creative-agent", "A poem.")(CALL)

        lives = [(live.agent, live.num_tokens) for live in paced(events, ManualClock(), pace_s=0.0)]
        live = list(paced(falling_back("a", "b", "A poem.")(CALL), ManualClock()))[-1]

        assert lives[0][0] == "code-agent"
        assert lives[-1] == ("creative-agent", 1)
        assert live.states.count(RequestState.LOADING_AGENT) == 2
        assert live.text == "A poem."

    def test_the_end_comes_with_its_event(self) -> None:
        """It carries the answer."""
        live = list(paced(answering("Hi")(CALL), ManualClock()))[-1]

        assert live.end is not None
        assert live.end.type == "final"

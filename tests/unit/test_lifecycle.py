"""The states of one request: which moves there are, and that every walk can end."""

from __future__ import annotations

import random

import pytest
from statemachine.exceptions import TransitionNotAllowed

from orion.clock import ManualClock
from orion.lifecycle import RequestMachine
from orion.lifecycle.machine import _Graph
from orion.types import RequestState

S = RequestState
WHOLE_WALK = [S.VALIDATING, S.ROUTING, S.CACHE_LOOKUP, S.LOADING_AGENT, S.INFERENCING, S.SUCCESS]
ENDS = {S.SUCCESS, S.ERROR, S.CANCELLED}
MOVES = {
    S.IDLE: {S.VALIDATING, S.ERROR, S.CANCELLED},
    S.VALIDATING: {S.ROUTING, S.ERROR, S.CANCELLED},
    S.ROUTING: {S.CACHE_LOOKUP, S.ERROR, S.CANCELLED},
    S.CACHE_LOOKUP: {S.LOADING_AGENT, S.SUCCESS, S.ERROR, S.CANCELLED},
    S.LOADING_AGENT: {S.INFERENCING, S.FALLBACK, S.ERROR, S.CANCELLED},
    S.INFERENCING: {S.SUCCESS, S.FALLBACK, S.ERROR, S.CANCELLED},
    S.FALLBACK: {S.LOADING_AGENT, S.ERROR, S.CANCELLED},
    S.SUCCESS: set(),
    S.ERROR: set(),
    S.CANCELLED: set(),
}


def walked(*states: RequestState) -> RequestMachine:
    """A machine that has gone through `states`."""
    machine = RequestMachine(ManualClock())
    for state in states:
        machine.enter(state)
    return machine


def way_to(state: RequestState) -> list[RequestState]:
    """The shortest walk from idle to `state`."""
    ways: dict[RequestState, list[RequestState]] = {S.IDLE: []}
    queue = [S.IDLE]
    while state not in ways:
        here = queue.pop(0)
        for there in MOVES[here] - ways.keys():
            ways[there] = [*ways[here], there]
            queue.append(there)
    return ways[state]


class TestWalk:
    def test_a_new_request_is_idle(self):
        """And not over."""
        machine = walked()

        assert machine.state is S.IDLE
        assert machine.path == ("idle",)
        assert machine.is_over is False

    def test_the_whole_walk(self):
        """Every state in order, remembered."""
        machine = walked(*WHOLE_WALK)

        assert machine.path == ("idle", *WHOLE_WALK)
        assert machine.state is S.SUCCESS
        assert machine.is_over is True

    def test_an_answer_from_the_answer_cache_needs_no_model(self):
        """From the look-up straight to success."""
        assert walked(*WHOLE_WALK[:3], S.SUCCESS).is_over

    def test_a_fallback_goes_back_to_loading(self):
        """Before any text, the next agent takes over."""
        machine = walked(*WHOLE_WALK[:5], S.FALLBACK, S.LOADING_AGENT, S.INFERENCING, S.SUCCESS)

        assert machine.path.count("loading_agent") == 2

    def test_time_runs_from_admission(self):
        """On the injected clock."""
        clock = ManualClock(100.0)
        machine = RequestMachine(clock)
        clock.advance(1.5)

        machine.enter(S.VALIDATING)

        assert machine.elapsed_s == 1.5

    def test_the_states_are_those_of_the_house(self):
        """The graph and the enum have the same names."""
        assert {state.id for state in _Graph.states} == set(S)


class TestRefusal:
    @pytest.mark.parametrize("here", list(S))
    def test_only_the_moves_of_the_table_are_possible(self, here):
        """Every pair of states, tried on the real machine."""
        possible = set()
        for there in S:
            machine = walked(*way_to(here))
            try:
                machine.enter(there)
            except TransitionNotAllowed:
                assert machine.state is here
                assert machine.path[-1] == here
            else:
                possible.add(there)

        assert possible == MOVES[here]

    @pytest.mark.parametrize("end", sorted(ENDS))
    def test_nothing_follows_an_end(self, end):
        """An ended request cannot fail, succeed or be cancelled again."""
        machine = walked(*way_to(end))

        assert machine.is_over
        for state in ENDS:
            with pytest.raises(TransitionNotAllowed):
                machine.enter(state)


class TestAnySequence:
    def test_the_graph_is_the_table(self):
        """So that walks over the table are walks of the machine."""
        moves = {
            (transition.source.id, transition.target.id)
            for state in _Graph.states
            for transition in state.transitions
        }

        assert moves == {(here, there) for here, all_of in MOVES.items() for there in all_of}

    def test_ten_thousand_random_walks_never_leave_the_table_and_can_all_end(self):
        """Sixty random wishes each, most of them impossible; the end is always in reach."""
        draw = random.Random(20)
        states = list(S)
        can_end = {
            here for here in S if here in ENDS or any(there in ENDS for there in MOVES[here])
        }
        for _ in range(10_000):
            here = S.IDLE
            for wish in draw.choices(states, k=60):
                here = wish if wish in MOVES[here] else here
            assert here in can_end

    def test_random_wishes_leave_the_real_machine_on_the_table(self):
        """The same on the machine itself, fewer times."""
        draw = random.Random(21)
        for _ in range(60):
            machine = RequestMachine(ManualClock())
            here = S.IDLE
            for wish in draw.choices(list(S), k=20):
                try:
                    machine.enter(wish)
                except TransitionNotAllowed:
                    assert wish not in MOVES[here]
                else:
                    assert wish in MOVES[here]
                    here = wish
            assert machine.state is here
            assert machine.is_over == (here in ENDS)

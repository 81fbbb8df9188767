"""Which agent follows which."""

from __future__ import annotations

import pytest

from orion.preload import Transitions
from orion.preload.transitions import AGENTS_MAX, ROW_MAX


def learned(*agents: str, session: str = "s") -> Transitions:
    transitions = Transitions(sessions_max=10)
    for agent in agents:
        transitions.observe(session, agent)
    return transitions


class TestNextAgents:
    def test_an_unknown_session_has_no_next_agent(self) -> None:
        """Nothing is known of it, not even its last agent."""
        assert learned("a", "b").next_agents("other") == {}

    def test_one_agent_is_all_there_is(self) -> None:
        """The only one ever asked."""
        assert learned("a", "a").next_agents("s") == {"a": 1.0}

    def test_nobody_knows_what_follows_what_came_first_now(self) -> None:
        """No guess from how often an agent is asked at all."""
        assert learned("a", "a", "b").next_agents("s") == {}

    def test_follows_witten_and_bell(self) -> None:
        """After a: b twice, c once; of the row's 3 counts over 2 agents, 2/5 come from below."""
        after = learned("a", "b", "a", "b", "a", "c", "a").next_agents("s")

        anyone = {"a": (4 + 1) / 10, "b": (2 + 1) / 10, "c": (1 + 1) / 10}
        overall = {
            name: (count + 2 * anyone[name]) / 5 for name, count in {"a": 0, "b": 2, "c": 1}.items()
        }
        expected = {
            name: (count + 2 * overall[name]) / 5
            for name, count in {"a": 0, "b": 2, "c": 1}.items()
        }
        assert after == pytest.approx(expected)
        assert sum(after.values()) == pytest.approx(1.0)

    def test_a_new_session_goes_by_the_others(self) -> None:
        """What everybody does after a."""
        transitions = learned(*"abababab")
        transitions.observe("new", "a")

        assert transitions.next_agents("new")["b"] > 0.7

    def test_a_session_s_own_habit_outweighs_the_others(self) -> None:
        """A few turns are enough."""
        transitions = learned(*("ab" * 50))
        for agent in "aaaaaaa":
            transitions.observe("own", agent)

        assert transitions.next_agents("own")["a"] > 0.7


class TestBounds:
    def test_the_session_unused_longest_is_forgotten(self) -> None:
        """A used one stays."""
        transitions = Transitions(sessions_max=2)
        for session in ("one", "two", "one", "three"):
            transitions.observe(session, "a")

        assert len(transitions) == 2
        assert transitions.next_agents("two") == {}
        assert transitions.next_agents("one") != {}

    def test_a_session_that_is_over_leaves_nothing_of_its_own(self) -> None:
        """Asked again it is new."""
        transitions = learned("a", "b")
        transitions.forget("s")

        assert transitions.next_agents("s") == {}

    def test_too_many_agents_are_not_learned(self) -> None:
        """Names come from outside."""
        transitions = learned(*(f"agent-{index}" for index in range(AGENTS_MAX + 20)))
        transitions.observe("s", "agent-0")

        assert len(transitions.next_agents("s")) == AGENTS_MAX

    def test_old_habits_fade(self) -> None:
        """A full row is halved: a new habit needs less than all the old one's counts."""
        transitions = learned(*("ab" * ROW_MAX))
        transitions.observe("s", "a")
        for _ in range(ROW_MAX // 2 + 100):
            transitions.observe("s", "a")

        assert transitions.next_agents("s")["a"] > 0.4

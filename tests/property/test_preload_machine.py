"""Any order of requests, drafts, loads and goodbyes keeps the ledgers' promises."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orion.clock import ManualClock
from orion.preload import Kind, Ledger, Prediction, Preloader, Transitions, preloader
from orion.preload.loads import MODELS_MAX
from orion.settings import PredictionSettings

AGENTS = ("a", "b", "c", "d")
MODELS = {"a": "one", "b": "two", "c": "two", "d": "three"}
agents = st.sampled_from(AGENTS)
models = st.sampled_from(sorted(set(MODELS.values())))
sessions = st.sampled_from(["s", "t", "u", None])
seconds = st.floats(0, 20)


class World(RuleBasedStateMachine):
    """Events come in any order, also in ones that no dispatcher would produce."""

    @initialize(window=st.integers(4, 12))
    def build(self, window: int) -> None:
        self.clock = ManualClock()
        self.preloader = Preloader(
            MODELS.__getitem__, PredictionSettings(window=window), self.clock
        )
        self.resident: set[str] = set()

    @rule(session=sessions, agent=agents)
    def ask(self, session: str | None, agent: str) -> None:
        self.preloader.requested(session, agent, MODELS[agent])

    @rule(session=sessions)
    def answer(self, session: str | None) -> None:
        assert self.preloader.after_answer(session) not in self.resident

    @rule(session=sessions, agent=agents, confidence=st.floats(0, 1))
    def type(self, session: str | None, agent: str, confidence: float) -> None:
        model = self.preloader.draft(session, agent, confidence, MODELS[agent])
        assert model in {None, MODELS[agent]}
        assert model not in self.resident, "a resident model is no prefetch"

    @rule(model=models, took=seconds, speculative=st.booleans())
    def load(self, model: str, took: float, *, speculative: bool) -> None:
        self.resident.add(model)
        facts = {"seconds": took, "speculative": speculative}
        self.preloader.on_event("loaded", model, facts)

    @rule(model=models)
    def leave(self, model: str) -> None:
        self.resident.discard(model)
        self.preloader.on_event("gone", model, {"speculative_unused": True})

    @rule(model=models)
    def decline(self, model: str) -> None:
        self.preloader.on_event("declined", model, {})

    @rule(model=models, saved=seconds, speculative=st.booleans())
    def grant(self, model: str, saved: float, *, speculative: bool) -> None:
        facts = {"speculative": speculative, "load_s_saved": saved}
        self.preloader.on_event("granted", model, facts)

    @rule(session=sessions)
    def leave_session(self, session: str | None) -> None:
        self.preloader.forget(session)

    @rule(spent=st.floats(0, 100))
    def wait(self, spent: float) -> None:
        self.clock.advance(spent)

    @invariant()
    def counts_add_up(self) -> None:
        for kind in Kind:
            told: dict[str, Any] = self.preloader.stats()[kind]
            outcomes = ("hits", "baseline_hits", "neither", "dropped", "open")
            assert told["predictions"] == sum(told[name] for name in outcomes)
            assert told["open"] >= 0
            assert told["used"] + told["wasted"] <= told["loads"]
            assert min(told["saved_s"], told["lost_s"]) >= 0
            assert told["active"] == (told["reason"] == "")
            assert told["active"] == (told["switches"] % 2 == 0)

    @invariant()
    def memory_is_bounded(self) -> None:
        world = self.preloader
        assert len(world._sessions) <= preloader.SESSIONS_MAX
        assert all(
            len(waiting) <= preloader.OPEN_MAX
            for session in world._sessions.values()
            for waiting in session.open.values()
        )
        assert len(world._loads.ahead) <= MODELS_MAX


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase


class TestTransitions:
    @given(st.lists(st.tuples(st.sampled_from("stu"), agents), min_size=1, max_size=200))
    @settings(deadline=None)
    def test_probabilities_are_some(self, asked: list[tuple[str, str]]) -> None:
        """Each above zero, all together one."""
        transitions = Transitions(sessions_max=2)
        for session, agent in asked:
            transitions.observe(session, agent)

        ratios = transitions.next_agents(asked[-1][0])

        if not ratios:
            return
        assert ratios.keys() == {agent for _, agent in asked}
        assert abs(sum(ratios.values()) - 1) < 1e-9
        assert min(ratios.values()) > 0
        assert len(transitions) <= 2


def judged(ledger: Ledger, asked: str, cost_s: float) -> None:
    silent = not ledger.active
    one = Prediction(
        kind=Kind.DRAFT, model="p", kept=frozenset({"last"}), began_s=0.0, silent=silent
    )
    one.saved_s = cost_s if asked == "p" else None
    one.lost_s = cost_s if asked == "last" else 0.0
    ledger.made += 1
    ledger.judge(one, asked)


class TestLedger:
    @given(
        st.integers(4, 40),
        st.lists(
            st.tuples(st.sampled_from(["p", "last", "other"]), st.floats(0.1, 10)), max_size=80
        ),
    )
    @settings(deadline=None)
    def test_goes_off_when_losing_and_on_when_winning(
        self, window: int, before: list[tuple[str, float]]
    ) -> None:
        """Whatever came before: a window of losses ends it, two of wins bring it back."""
        ledger = Ledger(Kind.DRAFT, window=window)
        for asked, cost_s in before:
            judged(ledger, asked, cost_s)
            ledger.review()

        for _ in range(2 * window):
            judged(ledger, "last", 1.0)
            ledger.review()
        assert not ledger.active
        for _ in range(2 * window):
            judged(ledger, "p", 1.0)
            ledger.review()
        assert ledger.active

    @given(st.integers(4, 40), st.lists(st.sampled_from(["p", "last"]), max_size=300))
    @settings(deadline=None)
    def test_does_not_flap(self, window: int, asked: list[str]) -> None:
        """A whole window lies between off and on, half a one between on and off."""
        ledger = Ledger(Kind.DRAFT, window=window)
        stays, since = [], 0
        for one in asked:
            judged(ledger, one, 1.0)
            since += 1
            if ledger.review():
                stays.append((not ledger.active, since))
                since = 0

        assert all(since >= (window // 2 if was_on else window) for was_on, since in stays)

"""Any order of questions, answers, goodbyes and purges keeps answers where they belong."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.fakes.visitors import ENDS, Visitors

WHO = st.integers(0, 3)
WHAT = st.integers(0, 2)
ANY = st.integers(0, 50)
SESSIONS, STEPS = 50, 2000


class AnswerCacheMachine(RuleBasedStateMachine):
    """Few visitors and few questions, so that they meet."""

    @initialize(entries=st.integers(1, 4), public=st.booleans())
    def build(self, entries: int, public: bool) -> None:
        self.visitors = Visitors(entries=entries, ttl_s=60.0, public=public)

    @rule(who=WHO, what=WHAT, greedy=st.sampled_from([True, True, False]), single=st.booleans())
    def someone_asks(self, who: int, what: int, greedy: bool, single: bool) -> None:
        self.visitors.ask(who, what, greedy=greedy, single=single)

    @rule(index=ANY)
    def a_word_comes(self, index: int) -> None:
        self.visitors.speak(index)

    @rule(index=ANY, how=st.sampled_from(ENDS))
    def an_answer_ends(self, index: int, how: str) -> None:
        self.visitors.end(index, how)

    @rule(index=ANY)
    def someone_listens(self, index: int) -> None:
        self.visitors.listen(index)

    @rule(index=ANY)
    def someone_goes(self, index: int) -> None:
        self.visitors.go(index)

    @rule(who=WHO)
    def a_session_is_purged(self, who: int) -> None:
        self.visitors.purge(who)

    @rule()
    def all_is_forgotten(self) -> None:
        self.visitors.clear()

    @rule(seconds=st.sampled_from([0.5, 20.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.visitors.pass_time(seconds)

    @invariant()
    def the_books_agree(self) -> None:
        if hasattr(self, "visitors"):
            self.visitors.check()

    def teardown(self) -> None:
        if hasattr(self, "visitors"):
            self.visitors.leave_all()


TestAnswerCacheMachine = AnswerCacheMachine.TestCase
TestAnswerCacheMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


class TestManySessions:
    @pytest.mark.parametrize("public", [False, True])
    def test_fifty_sessions_never_hear_each_other(self, public):
        """2,000 steps for each; only single questions are everybody's, and only if allowed."""
        chance = random.Random(28)
        visitors = Visitors(entries=200, ttl_s=600.0, public=public)
        for step in range(SESSIONS * STEPS):
            who, what, index = step % SESSIONS, chance.randrange(6), chance.randrange(1000)
            roll = chance.random()
            if roll < 0.40:
                greedy, single = chance.random() < 0.9, chance.random() < 0.7
                visitors.ask(who, what, greedy=greedy, single=single)
            elif roll < 0.60:
                visitors.speak(index)
            elif roll < 0.80:
                visitors.end(index, chance.choice(ENDS))
            elif roll < 0.97:
                visitors.go(index)
            elif roll < 0.98:
                visitors.listen(index)
            elif roll < 0.995:
                visitors.pass_time(chance.uniform(0, 20))
            else:
                visitors.purge(who)
        visitors.check()
        visitors.leave_all()

        assert visitors.hits["own"] > 1000
        assert (visitors.hits["public"] > 1000) is public

"""The key of an answer: everything that could change it, and nothing that can be guessed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.answer_cache.key import Keyring, canonical
from orion.types import Sampling
from tests.fakes.flight import question

GREEDY = Sampling(temperature=0.0)


def key_of(keyring: Keyring, **changes: Any) -> Any:
    return keyring.answer_key(question(**changes))


class TestAnswerKey:
    def test_the_same_question_has_the_same_key(self):
        """In one process."""
        keyring = Keyring()

        assert key_of(keyring) == key_of(keyring)

    @pytest.mark.parametrize(
        "changes",
        [
            {"text": "hello "},
            {"text": "Hello"},
            {"text": "hello\u200b"},
            {"session": "s2"},
            {"client": "10.0.0.1"},
            {"asked": "code-agent"},
            {"agent": "creative-agent"},
            {"model": "other"},
            {"model_digest": "1" * 64},
            {"messages": (("user", "You answer."), ("user", "hello"))},
            {"messages": (("user", "hello"),)},
            {"messages": (("system", "You answer.hello"), ("user", ""))},
            {"trim_history": True},
            {"language": "fr"},
            {"rules": ("guardrails 2",)},
            {"sampling": replace(GREEDY, max_tokens=511)},
            {"sampling": replace(GREEDY, top_p=0.9)},
            {"sampling": replace(GREEDY, top_k=1)},
            {"sampling": replace(GREEDY, min_p=0.0)},
            {"sampling": replace(GREEDY, repetition_penalty=1.0)},
            {"sampling": replace(GREEDY, seed=1)},
            {"sampling": replace(GREEDY, stop=("END",))},
            {"sampling": replace(GREEDY, temperature=0.5, seed=1)},
        ],
    )
    def test_whatever_could_change_the_answer_changes_the_key(self, changes):
        """One character, one role, one parameter is enough."""
        keyring = Keyring()

        assert key_of(keyring, **changes).digest != key_of(keyring).digest

    def test_another_process_has_other_keys(self):
        """They cannot be computed from outside."""
        first, second = key_of(Keyring()), key_of(Keyring())

        assert first.digest != second.digest
        assert first.session != second.session

    def test_a_session_is_not_readable_in_its_key(self):
        """Nor is it the same as the name of an answer."""
        keyring = Keyring()
        opaque = keyring.session_key("someone@example.org")

        assert len(opaque) == 32
        assert set(opaque) <= set("0123456789abcdef")
        assert opaque == keyring.session_key("someone@example.org")
        assert key_of(keyring, session="someone@example.org").session == opaque

    @pytest.mark.parametrize("session", [None, ""])
    def test_without_a_session_there_is_no_key(self, session):
        """Nobody to keep it for, and nothing to tell a worker."""
        keyring = Keyring()

        assert keyring.session_key(session) == ""
        assert key_of(keyring, session=session) is None

    @pytest.mark.parametrize("public", [False, True])
    def test_a_question_with_many_answers_has_no_key(self, public):
        """Drawn anew each time: warm, and no seed."""
        warm = Sampling(temperature=0.7)

        assert key_of(Keyring(public=public), sampling=warm) is None
        assert key_of(Keyring(public=public), sampling=replace(warm, seed=0)) is not None

    def test_everybody_shares_single_questions_where_the_operator_says_so(self):
        """With or without a session, whoever asks."""
        keyring = Keyring(public=True)
        keys = [
            key_of(keyring, session=session, client=client)
            for session, client in (("s1", "a"), ("s2", "b"), (None, ""))
        ]

        assert len(set(keys)) == 1
        assert keys[0].session == ""

    def test_a_conversation_is_never_everybodys(self):
        """A history or a system prompt of the caller's keeps it in its session."""
        keyring = Keyring(public=True)
        first, second = (key_of(keyring, session=name, is_single=False) for name in ("s1", "s2"))

        assert first.digest != second.digest
        assert key_of(keyring, session=None, is_single=False) is None

    def test_a_session_of_that_name_is_not_everybody(self):
        """Scopes cannot be spelled."""
        keyring = Keyring(public=True)
        public = key_of(keyring)

        assert key_of(keyring, session="public", is_single=False).digest != public.digest


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


class TestCanonical:
    @given(PLAIN, PLAIN)
    def test_two_values_have_one_form_only_if_they_are_one(self, left, right):
        """No concatenation of parts looks like another."""
        assert (canonical(left) == canonical(right)) is same(left, right)

    @given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
    def test_text_cannot_move_between_neighbours(self, left, right):
        """Lengths stand before the parts."""
        assert (canonical(left) == canonical(right)) is (left == right)

    def test_the_order_of_a_mapping_is_of_no_account(self):
        """That of a list is."""
        assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
        assert canonical(["a", "b"]) != canonical(["b", "a"])

    def test_half_of_a_surrogate_pair_has_a_form(self):
        """Whatever comes, a key is made."""
        assert canonical("\ud800") != canonical("\ud801")

    @pytest.mark.parametrize("value", [b"x", object(), {1, 2}])
    def test_other_values_are_a_mistake(self, value):
        """Refused, not spelled out somehow."""
        with pytest.raises(TypeError, match="has no canonical form"):
            canonical(value)

"""How long a model is to stay: seconds and durations, and what is none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.errors import InvalidQueryError
from orion.guardrails import Limits, client_of_session, parse_keep_alive, validate
from orion.guardrails.duration import FOR_EVER_S, LONGEST_S
from orion.types import Query

LIMITS = Limits(message_chars=100, total_chars=200, messages=4, max_tokens=10)
NO_KEEP_ALIVE = Limits(
    message_chars=100, total_chars=200, messages=4, max_tokens=10, keep_alive=False
)


def valid(limits: Limits = LIMITS, **fields):
    return validate(Query(text="Hi", **fields), names=["code-agent"], limits=limits)


def refusal(limits: Limits = LIMITS, **fields) -> InvalidQueryError:
    with pytest.raises(InvalidQueryError) as caught:
        valid(limits, **fields)
    return caught.value


class TestDurations:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (300, 300.0),
            (2.5, 2.5),
            (0, 0.0),
            (-0.0, 0.0),
            ("300", 300.0),
            ("0", 0.0),
            ("0s", 0.0),
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("1h0m30s", 3630.0),
            ("300ms", 0.3),
            ("1.5h", 5400.0),
            (".5s", 0.5),
            ("+10s", 10.0),
            ("24h", 86_400.0),
            ("1us", 1e-6),
            ("1\u00b5s", 1e-6),
            ("1\u03bcs", 1e-6),
            ("5ns", 5e-9),
        ],
    )
    def test_seconds_and_go_durations_are_read(self, value, seconds):
        """What Ollama's clients send works here."""
        assert parse_keep_alive(value) == pytest.approx(seconds)

    @pytest.mark.parametrize("value", [-1, -0.5, "-1", "-5m", "-1h30m", -(10**400)])
    def test_below_zero_is_for_ever(self, value):
        """One value, however it is written."""
        assert parse_keep_alive(value) == FOR_EVER_S

    @pytest.mark.parametrize(
        "value",
        [
            True,
            False,
            float("nan"),
            float("inf"),
            float("-inf"),
            "",
            " ",
            "5 m",
            "5m ",
            "m",
            "5d",
            "5M",
            "soon",
            "NaN",
            "inf",
            "1e3",
            "--1",
            "1h-30m",
            "5m30",
            ".",
            "5\u0660s",
            "\u0665m",
            "5m\n",
            "1s" * 40,
            [],
            {},
            b"5m",
            object(),
        ],
    )
    def test_nonsense_is_refused_by_name(self, value):
        """The caller learns which parameter, and what would be taken."""
        with pytest.raises(InvalidQueryError) as caught:
            parse_keep_alive(value)

        assert caught.value.facts["field"] == "keep_alive"
        assert "'1h30m'" in caught.value.public_message

    @pytest.mark.parametrize("value", [LONGEST_S + 1, 10**400, 1e300, "9" * 64, "100000000h"])
    def test_absurdly_long_is_refused(self, value):
        """A slip of the keyboard is not a decade; for ever has its own word."""
        with pytest.raises(InvalidQueryError, match="ten years"):
            parse_keep_alive(value)

    def test_nothing_stays_nothing(self):
        """What is not set is the server's to decide."""
        assert parse_keep_alive(None) is None

    @given(st.text(max_size=80) | st.floats() | st.integers())
    def test_anything_is_seconds_or_a_refusal(self, value):
        """No other exception, and no number that is none."""
        with suppress(InvalidQueryError):
            seconds = parse_keep_alive(value)
            assert seconds == FOR_EVER_S or 0 <= seconds <= LONGEST_S


class TestQueries:
    def test_keep_alive_reaches_the_valid_query_in_seconds(self):
        """Downstream sees one unit."""
        assert valid(keep_alive="5m").keep_alive_s == 300.0
        assert valid(keep_alive=-3).keep_alive_s == FOR_EVER_S
        assert valid().keep_alive_s is None

    def test_keep_alive_is_refused_where_the_operator_keeps_it(self):
        """With the setting that says so; leaving it out works."""
        message = refusal(NO_KEEP_ALIVE, keep_alive=0).public_message

        assert "ORION_MEMORY__CALLER_KEEP_ALIVE" in message
        assert valid(NO_KEEP_ALIVE).keep_alive_s is None

    @pytest.mark.parametrize("value", [0, -1, 86_401, "5", True, float("nan"), 10**400])
    def test_a_deadline_is_a_number_of_seconds_up_to_a_day(self, value):
        """Anything else is refused by name."""
        assert refusal(deadline_s=value).facts["field"] == "deadline_s"

    def test_a_deadline_reaches_the_valid_query(self):
        """As a float."""
        assert valid(deadline_s=30).deadline_s == 30.0
        assert valid().deadline_s is None


class TestClient:
    def test_the_face_says_who_asks(self):
        """What it says counts."""
        assert valid(client="user:ada", session="s").client == "user:ada"

    def test_else_the_session_does(self):
        """The page and scripts need no second name."""
        assert valid(session="tab").client == client_of_session("tab") == "session:tab"

    def test_nobody_in_particular_has_no_name(self):
        """And so no share to exceed."""
        assert valid().client == ""

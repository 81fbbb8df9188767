"""Breakers by their names: found, and forgotten when what they guard has gone."""

from __future__ import annotations

from tests.conformance.breaker_support import BOOM, config, make_breakers


class TestFind:
    def test_finds_what_was_made_by_whatever_rules(self):
        """The operator may have changed them since."""
        breakers = make_breakers()
        made = breakers.get("load:m", config(failures=1))

        made.reconfigure(config(failures=5))

        assert breakers.find("load:m") is made
        assert breakers.find("load:other") is None


class TestDiscard:
    def test_a_breaker_that_nobody_uses_is_forgotten(self):
        """Whoever asks for the name again gets a new one; the others stay."""
        breakers = make_breakers()
        old = breakers.get("load:m", config(failures=1))
        breakers.get("load:n", config(failures=1))
        old.acquire().failure(BOOM)

        assert breakers.discard("load:m") is True

        assert breakers.names() == ["load:n"]
        assert breakers.get("load:m", config(failures=1)) is not old

    def test_a_call_under_way_keeps_it(self):
        """Its outcome has still to be counted."""
        breakers = make_breakers()
        permit = breakers.get("load:m", config(failures=1)).acquire()

        assert breakers.discard("load:m") is False
        permit.success()
        assert breakers.discard("load:m") is True

    def test_what_is_not_there_cannot_be_forgotten(self):
        """It says so."""
        breakers = make_breakers()

        assert breakers.discard("load:m") is False

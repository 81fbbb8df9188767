"""Both languages say everything."""

from __future__ import annotations

import string

import pytest

from orion.errors import OverloadedError, WorkerDiedError, error_classes
from orion.types import RequestState
from orion.ui.texts import (
    CATALOGUES,
    ENGLISH,
    FRENCH,
    FRENCH_ERRORS,
    error_message,
    locale_of,
    say,
    span,
    state_name,
)


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


class TestCatalogues:
    def test_have_the_same_keys(self) -> None:
        """Nothing is said in one language only."""
        assert ENGLISH.keys() == FRENCH.keys()

    def test_have_no_empty_text(self) -> None:
        """A label that is there says something."""
        assert all(text.strip() for texts in CATALOGUES.values() for text in texts.values())

    def test_name_the_same_facts(self) -> None:
        """A translation leaves out no number."""
        assert {key: fields(text) for key, text in ENGLISH.items()} == {
            key: fields(text) for key, text in FRENCH.items()
        }

    def test_name_every_state(self) -> None:
        """No state is shown by its code."""
        assert all(f"state.{state}" in ENGLISH for state in RequestState)

    def test_every_error_has_its_french(self) -> None:
        """With the facts of the English template."""
        classes = error_classes()

        assert FRENCH_ERRORS.keys() == classes.keys()
        for code, template in FRENCH_ERRORS.items():
            assert fields(template) == fields(classes[code].template), code


class TestWords:
    @pytest.mark.parametrize(
        ("header", "locale"),
        [
            ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
            ("en-US,en;q=0.9,fr;q=0.8", "en"),
            ("de-DE,de;q=0.9,fr;q=0.4", "fr"),
            ("ja", "en"),
            ("", "en"),
            (None, "en"),
            ("," * 10_000, "en"),
        ],
    )
    def test_the_browser_s_language_is_taken(self, header: str | None, locale: str) -> None:
        """The first that there is a catalogue for; English for everyone else."""
        assert locale_of(header) == locale

    def test_facts_are_put_in(self) -> None:
        """The number stands where the language wants it."""
        assert say("note.tokens", "fr", count=3) == "3 jetons"

    def test_one_thing_has_words_of_its_own(self) -> None:
        """Where there are none, those for many serve."""
        assert say("note.tokens", "fr", count=1) == "1 jeton"
        assert say("status.waiting", "en", count=1) == "1 waiting"

    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(0, "1 s"), (11.6, "12 s"), (58, "1 min"), (125, "2 min"), (3500, "1 h"), (7300, "2 h")],
    )
    def test_times_are_rounded_as_people_do(self, seconds: float, said: str) -> None:
        """An estimate is no stopwatch."""
        assert span(seconds) == said

    def test_an_unknown_state_is_shown_as_it_is(self) -> None:
        """A later part may add states before their words."""
        assert state_name("dreaming", "fr") == "dreaming"

    def test_an_error_speaks_the_reader_s_language(self) -> None:
        """French from the template, English from the error itself."""
        error = OverloadedError(queue_max=4, retry_after_s=2)

        assert error_message(error, "fr").startswith("Trop de requêtes attendent (4)")
        assert error_message(error, "en") == error.public_message

    def test_missing_facts_never_raise(self) -> None:
        """A message about an error is not the place for another."""
        assert "?" in error_message(WorkerDiedError(), "fr")

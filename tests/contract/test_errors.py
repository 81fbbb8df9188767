"""The error tree: what it says about itself is what it is."""

from __future__ import annotations

import copy
import pickle
import re
import string

import pytest

from orion import errors
from orion.errors import GenerationError, OrionError, error_classes, error_from_wire

LINE = re.compile(r"^(?P<indent>[│ ]*)[├└]── (?P<name>\w+) +(?P<code>[a-z_]+) +(?P<rest>\d{3}.*)$")


def every_class(cls: type[OrionError] = OrionError) -> list[type[OrionError]]:
    """`cls` and all below it that the package defines."""
    below = [sub for sub in cls.__subclasses__() if sub.__module__.startswith(errors.__name__)]
    return [cls, *(found for sub in below for found in every_class(sub))]


def drawn_tree() -> dict[str, tuple[str, str, int, bool]]:
    """Class name → (parent, code, status, retryable), read from the docstring."""
    found = {}
    ancestors = ["OrionError"]
    for line in (errors.__doc__ or "").splitlines():
        match = LINE.match(line)
        if not match:
            continue
        depth = len(match["indent"]) // 4
        del ancestors[depth + 1 :]
        status, retryable = int(match["rest"][:3]), "retryable" in match["rest"]
        found[match["name"]] = (ancestors[-1], match["code"], status, retryable)
        ancestors.append(match["name"])
    return found


def example(cls: type[OrionError]) -> OrionError:
    """An error with every fact its message asks for."""
    fields = {name for _, name, _, _ in string.Formatter().parse(cls.template) if name}
    return cls(**{name: 3 if name in NUMBERS else f"some {name}" for name in fields})


NUMBERS = {
    "context_tokens", "have_gb", "held", "limit_s", "need_gb", "port", "prompt_tokens", "queue_max",
    "queue_tokens", "retry_after_s", "wait_s",
}  # fmt: skip
EVERY = pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)


class TestTree:
    def test_the_drawing_is_the_tree(self):
        """Names, parents, codes, statuses and retryability stand in the docstring as they are."""
        real = {
            cls.__name__: (cls.__bases__[0].__name__, cls.code, cls.status, cls.retryable)
            for cls in every_class()[1:]
        }

        assert drawn_tree() == real

    def test_codes_are_unique(self):
        """A code says which class it was."""
        codes = [cls.code for cls in every_class()]

        assert sorted(codes) == sorted(set(codes))
        assert error_classes().keys() >= set(codes)

    @EVERY
    def test_status_is_a_status(self, cls):
        """Every error has an HTTP status of the error ranges."""
        assert 400 <= cls.status < 600


class TestMessage:
    @EVERY
    def test_every_fact_shows_in_the_message(self, cls):
        """The message is made from the facts alone."""
        error = example(cls)

        assert "?" not in error.public_message
        assert str(error) == error.public_message
        assert error.public_message.strip()

    def test_a_missing_fact_reads_as_a_question_mark(self):
        """Making a message never raises."""
        assert str(errors.InvalidQueryError(field="text")) == "`text` ?."

    def test_facts_are_attributes(self):
        """`error.port` is the port."""
        assert errors.PortTakenError(host="::1", port=80).port == 80

    def test_an_absent_fact_is_an_attribute_error(self):
        """A wrong name is told, with the class it was asked of."""
        with pytest.raises(AttributeError, match="PortTakenError has no fact 'prot'"):
            _ = errors.PortTakenError(host="::1", port=80).prot


class TestJourney:
    @EVERY
    def test_an_error_survives_the_pipe_as_code_and_facts(self, cls):
        """What the child raised is what the parent sees."""
        error = example(cls)

        twin = error_from_wire(error.code, error.facts)

        assert type(twin) is cls
        assert (twin.facts, str(twin)) == (error.facts, str(error))

    @EVERY
    def test_an_error_can_be_copied(self, cls):
        """Copying and pickling (concurrent.futures does) keep class and facts."""
        error = example(cls)

        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(twin), twin.facts) == (cls, error.facts)

    def test_an_unknown_code_is_a_failed_generation(self):
        """A child of another version cannot break the parent."""
        error = error_from_wire("from_the_future", {"reason": "flux"})

        assert (type(error), error.facts) == (GenerationError, {"reason": "flux"})

    def test_odd_facts_are_a_failed_generation(self):
        """Facts that do not fit the class neither."""
        error = error_from_wire("overloaded", {"colour": "red"})

        assert (type(error), error.facts) == (GenerationError, {"reason": "overloaded"})

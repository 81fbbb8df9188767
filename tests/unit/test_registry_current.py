"""The registry in force, what a new one changes, and how long the old one counts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from orion.errors import UnknownAgentError
from orion.registry import Registry, RegistryRef, difference, parse_registry
from tests.unit.registry_support import EMBEDDED, shipped_document, spoilt

OTHER = "own-model"


def registry_of(document: dict[str, Any]) -> Registry:
    return parse_registry(json.dumps(document))


@pytest.fixture
def document() -> dict[str, Any]:
    """The shipped registry with one model of our own."""
    made = shipped_document()
    made["custom_models"][OTHER] = copy.deepcopy(made["models"][EMBEDDED])
    return made


def without(document: dict[str, Any], table: str, name: str) -> dict[str, Any]:
    made = copy.deepcopy(document)
    del made[table][name]
    return made


class TestDifference:
    def test_equal_registries_keep_everything(self, document):
        """Agents and models share one namespace."""
        found = difference(registry_of(document), registry_of(document))

        assert found.kept == tuple(
            sorted([*document["models"], *document["custom_models"], *document["agents"]])
        )
        assert (found.added, found.removed, found.changed, found.stale) == ((), (), (), ())

    def test_what_came_and_what_went_is_named(self, document):
        """One of each."""
        later = without(document, "custom_models", OTHER)
        later["agents"]["poet"] = copy.deepcopy(later["agents"]["creative-agent"])

        found = difference(registry_of(document), registry_of(later))

        assert (found.added, found.removed) == (("poet",), (OTHER,))
        assert found.stale == (OTHER,)

    @pytest.mark.parametrize(
        ("key", "value"),
        [("context_tokens", 4096), ("parameters", 5), ("architecture", None)],
    )
    def test_a_model_that_is_another_is_loaded_anew(self, document, key, value):
        """Its entry changed in what a load goes by."""
        later = spoilt(document, ("models", EMBEDDED, key), value)

        found = difference(registry_of(document), registry_of(later))

        assert found.changed == found.stale == (EMBEDDED,)

    @pytest.mark.parametrize("key", ["name", "description", "licence", "family"])
    def test_a_model_that_is_described_otherwise_stays_loaded(self, document, key):
        """Words about it end no worker."""
        later = spoilt(document, ("models", EMBEDDED, key), "Other words")

        found = difference(registry_of(document), registry_of(later))

        assert (found.changed, found.stale) == ((EMBEDDED,), ())

    def test_a_changed_agent_leaves_its_model_alone(self, document):
        """A system prompt is sent with each request."""
        later = spoilt(document, ("agents", "code-agent", "system_prompt"), "Be brief.")

        found = difference(registry_of(document), registry_of(later))

        assert (found.changed, found.stale) == (("code-agent",), ())


class TestRegistry:
    def test_knows_the_file_it_was_read_from(self, document):
        """By its hash."""
        again = registry_of(document)

        assert len(again.sha256) == 64
        assert again.sha256 == registry_of(document).sha256
        assert again.sha256 != registry_of(without(document, "custom_models", OTHER)).sha256

    def test_digest_of_a_model_changes_with_its_entry(self, document):
        """And with nothing else."""
        before = registry_of(document)
        other = registry_of(spoilt(document, ("models", EMBEDDED, "parameters"), 5))

        assert before.digest(EMBEDDED) == registry_of(document).digest(EMBEDDED)
        assert before.digest(EMBEDDED) != other.digest(EMBEDDED)
        assert before.digest(OTHER) == other.digest(OTHER)

    def test_finds_the_model_behind_a_name(self, document):
        """An agent's, or the one that is named."""
        registry = registry_of(document)

        assert registry.model_of(OTHER) == OTHER
        assert registry.model_of("code-agent") == EMBEDDED
        with pytest.raises(UnknownAgentError) as caught:
            registry.model_of("nobody")
        assert "code-agent" in caught.value.known
        assert OTHER in caught.value.known


class TestRegistryRef:
    def test_a_request_keeps_the_registry_it_began_with(self, document):
        """A swap is one step; what was read stays."""
        old, new = registry_of(document), registry_of(without(document, "custom_models", OTHER))
        registries = RegistryRef(old)

        held = registries.current
        registries.swap(new)

        assert held is old
        assert registries.current is new

    def test_a_model_taken_out_is_found_while_a_request_holds_its_registry(self, document):
        """And not a moment longer."""
        old, new = registry_of(document), registry_of(without(document, "custom_models", OTHER))
        registries = RegistryRef(old)
        registries.swap(new)

        assert registries.model(OTHER) is old.models[OTHER]
        del old
        with pytest.raises(UnknownAgentError):
            registries.model(OTHER)

    def test_loads_go_by_what_is_staged_before_requests_do(self, document):
        """So that none is answered by weights older than its registry."""
        old = registry_of(document)
        new = registry_of(spoilt(document, ("models", EMBEDDED, "parameters"), 5))
        registries = RegistryRef(old)

        registries.stage(new)

        assert registries.current is old
        assert registries.model(EMBEDDED).parameters == 5

    def test_registries_that_nobody_holds_are_forgotten(self, document):
        """A thousand reloads leave nothing behind."""
        registries = RegistryRef(registry_of(document))

        for _ in range(20):
            registries.swap(registry_of(document))

        assert len(registries._replaced) <= 1

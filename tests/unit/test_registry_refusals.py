"""Wrong content of `models.json` is refused, with its place and the reason."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orion.errors import RegistryError
from orion.registry import AGENT_IDS, CONVERSATION_AGENT
from tests.unit.registry_support import (
    EMBEDDED,
    MODEL,
    VARIANT,
    place,
    refusal_of,
    shipped_document,
    spoilt,
)

FILE = ("models", EMBEDDED, "variants", 0, "files", 0)


@pytest.fixture
def document() -> dict[str, Any]:
    """The shipped registry as plain values, to be spoilt."""
    return shipped_document()


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[Any], RegistryError]:
    """Write content to a file, load it, and give back the error."""
    return functools.partial(refusal_of, tmp_path)


UNKNOWN_KEYS = [
    ((), "$"),
    (("models", EMBEDDED), MODEL),
    (("models", EMBEDDED, "architecture"), f"{MODEL}.architecture"),
    (("models", EMBEDDED, "variants", 0), VARIANT),
    (("models", EMBEDDED, "variants", 0, "source"), f"{VARIANT}.source"),
    (("models", EMBEDDED, "variants", 1, "source"), f"{MODEL}.variants[1].source"),
    (("models", "qwen3-8b", "variants", 0, "source"), "$.models.qwen3-8b.variants[0].source"),
    (("models", EMBEDDED, "variants", 0, "files", 0), f"{VARIANT}.files[0]"),
    (("agents", "code-agent"), "$.agents.code-agent"),
    (("agents", "code-agent", "name"), "$.agents.code-agent.name"),
    (("agents", "code-agent", "sampling"), "$.agents.code-agent.sampling"),
    (("agents", "code-agent", "examples"), "$.agents.code-agent.examples"),
]


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("path", "where"), UNKNOWN_KEYS, ids=[where for _, where in UNKNOWN_KEYS]
    )
    def test_refused_at_every_level(self, document, refusal, path, where):
        """A key nobody knows is a mistake, wherever it stands."""
        place(document, *path)["colour"] = 1

        error = refusal(document)

        assert error.path == f"{where}.colour"
        assert "not permitted" in error.reason

    def test_unknown_profile_of_recommendations_is_refused(self, document, refusal):
        """There are two."""
        document["recommendations"]["tpu"] = {}

        assert refusal(document).path == "$.recommendations.tpu"


DANGLING = {
    "agent's model": (
        ("agents", "code-agent", "model"), "gpt-9", "$.agents.code-agent.model", "no model 'gpt-9'",
    ),
    "agent's unpinned model": (
        ("agents", "code-agent", "model"), "qwen3-8b", "$.agents.code-agent.model", "unpinned",
    ),
    "fallback": (
        ("agents", "code-agent", "fallback"), ["nobody"], "$.agents.code-agent.fallback[0]",
        "no other agent",
    ),
    "fallback to itself": (
        ("agents", "code-agent", "fallback"), ["code-agent"], "$.agents.code-agent.fallback[0]",
        "no other agent",
    ),
    "fallback twice": (
        ("agents", "code-agent", "fallback"), [CONVERSATION_AGENT] * 2,
        "$.agents.code-agent.fallback[1]", "twice",
    ),
    "group": (
        ("model_groups", "code"), [EMBEDDED, "gpt-9"], "$.model_groups.code[1]", "no model 'gpt-9'",
    ),
    "recommended model": (
        ("recommendations", "cpu", "code-agent"), "gpt-9", "$.recommendations.cpu.code-agent",
        "no model 'gpt-9'",
    ),
    "recommended agent": (
        ("recommendations", "gpu", "nobody"), EMBEDDED, "$.recommendations.gpu.nobody",
        "no agent 'nobody'",
    ),
    "import": (
        ("models", EMBEDDED, "variants", 1, "source", "variant"), "q9", MODEL, "not here",
    ),
    "import of an import": (
        ("models", EMBEDDED, "variants", 1, "source", "variant"), "nf4", MODEL, "itself derived",
    ),
}  # fmt: skip


class TestDanglingReferences:
    @pytest.mark.parametrize("case", DANGLING)
    def test_refused_where_they_stand(self, document, refusal, case):
        """A name that leads nowhere is refused with its place."""
        path, value, where, reason = DANGLING[case]

        error = refusal(spoilt(document, path, value))

        assert error.path == where
        assert reason in error.reason

    @pytest.mark.parametrize("agent_id", AGENT_IDS)
    def test_missing_agent_is_refused(self, document, refusal, agent_id):
        """The five agents of the contract must be there."""
        del document["agents"][agent_id]

        error = refusal(document)

        assert error.path == "$.agents"
        assert agent_id in error.reason

    def test_custom_model_with_the_name_of_a_shipped_one_is_refused(self, document, refusal):
        """Nothing is replaced silently."""
        document["custom_models"][EMBEDDED] = document["models"][EMBEDDED]

        assert refusal(document).path == f"$.custom_models.{EMBEDDED}"

    def test_agent_with_the_name_of_a_model_is_refused(self, document, refusal):
        """One name asks for one thing."""
        document["agents"][EMBEDDED] = document["agents"]["code-agent"]

        assert refusal(document).path == f"$.agents.{EMBEDDED}"

    @pytest.mark.parametrize("table", ["models", "custom_models", "agents"])
    def test_auto_is_no_name(self, document, refusal, table):
        """`auto` asks the router."""
        source = "agents" if table == "agents" else "models"
        document[table]["auto"] = next(iter(document[source].values()))

        assert refusal(document).path == f"$.{table}.auto"


IMPOSSIBLE = [
    (("models", EMBEDDED, "architecture", "layers"), "0"),
    (("models", EMBEDDED, "architecture", "layers"), "-30"),
    (("models", EMBEDDED, "architecture", "layers"), "30.5"),
    (("models", EMBEDDED, "architecture", "hidden"), "NaN"),
    (("models", EMBEDDED, "architecture", "vocabulary"), "1e999"),
    (("models", EMBEDDED, "architecture", "heads"), "9" * 400),
    (("models", EMBEDDED, "parameters"), "0"),
    (("models", EMBEDDED, "parameters"), '"134515008"'),
    (("models", EMBEDDED, "context_tokens"), "true"),
    (("models", EMBEDDED, "variants", 0, "bits_per_weight"), "-1"),
    (("models", EMBEDDED, "variants", 0, "bits_per_weight"), "0"),
    (("models", EMBEDDED, "variants", 0, "bits_per_weight"), "65"),
    (("models", EMBEDDED, "variants", 0, "bits_per_weight"), "NaN"),
    (("models", EMBEDDED, "variants", 0, "bits_per_weight"), "Infinity"),
    (("models", EMBEDDED, "variants", 0, "bits_per_weight"), "1e999"),
    (("models", EMBEDDED, "variants", 0, "bits_per_weight"), '"4.5"'),
    (("agents", "code-agent", "sampling", "temperature"), "99"),
    (("agents", "code-agent", "sampling", "temperature"), "-Infinity"),
    (("agents", "code-agent", "sampling", "max_tokens"), "0"),
    (("agents", "code-agent", "sampling", "top_p"), "0"),
]


class TestImpossibleNumbers:
    @pytest.mark.parametrize(("path", "number"), IMPOSSIBLE)
    def test_refused_where_they_stand(self, document, refusal, path, number):
        """No number is bent into shape."""
        text = json.dumps(spoilt(document, path, "@@")).replace('"@@"', number)

        error = refusal(text)

        assert error.path.endswith(f".{path[-1]}")
        assert error.path.startswith(f"$.{path[0]}.{path[1]}")

    def test_number_too_long_to_read_is_refused(self, document, refusal):
        """Ten thousand digits are no number of layers."""
        path = ("models", EMBEDDED, "architecture", "layers")
        text = json.dumps(spoilt(document, path, "@@")).replace('"@@"', "9" * 10_000)

        assert refusal(text).path == "$"

    def test_heads_that_do_not_share_evenly_are_refused(self, document, refusal):
        """Grouped attention needs whole groups."""
        error = refusal(spoilt(document, ("models", EMBEDDED, "architecture", "kv_heads"), 4))

        assert error.path == f"{MODEL}.architecture"


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("path", "value", "where"),
        [
            (("version",), 2, "$.version"),
            (("version",), "1", "$.version"),
            (("models",), [], "$.models"),
            (("models",), {}, "$.models"),
            (("agents",), None, "$.agents"),
            (("models", EMBEDDED), "smol", MODEL),
            (("models", EMBEDDED, "variants"), {}, f"{MODEL}.variants"),
            (("models", EMBEDDED, "variants"), [], f"{MODEL}.variants"),
            (("models", EMBEDDED, "languages"), ["English"], f"{MODEL}.languages[0]"),
            (("models", EMBEDDED, "variants", 0, "runtime"), "cuda", f"{VARIANT}.runtime"),
            (("models", EMBEDDED, "variants", 0, "runtime"), "transformers", VARIANT),
            (("models", EMBEDDED, "variants", 0, "precision"), "q5", f"{VARIANT}.precision"),
            (("models", EMBEDDED, "variants", 0, "source"), {}, f"{VARIANT}.source"),
            (("models", EMBEDDED, "variants", 0, "source", "kind"), "ftp", f"{VARIANT}.source"),
            (("models", EMBEDDED, "variants", 1, "id"), "q4_1-gguf", MODEL),
            (("models", "Upper Case"), {}, '$.models["Upper Case"]'),
            (("agents", "code-agent", "system_prompt"), "   ", "$.agents.code-agent.system_prompt"),
            (("agents", "code-agent", "system_prompt"), 5, "$.agents.code-agent.system_prompt"),
            (
                ("agents", "code-agent", "name"),
                {"en": "Code"},
                "$.agents.code-agent.name.fr",
            ),
            (
                ("agents", "code-agent", "examples", "fr"),
                "une phrase",
                "$.agents.code-agent.examples.fr",
            ),
        ],
    )
    def test_refused_where_they_stand(self, document, refusal, path, value, where):
        """A value of another kind is refused, not converted."""
        assert refusal(spoilt(document, path, value)).path == where

    def test_gguf_variant_without_a_gguf_file_is_refused(self, document, refusal):
        """A runtime needs a file it reads."""
        error = refusal(spoilt(document, (*FILE, "path"), "x.safetensors"))

        assert error.path == VARIANT
        assert ".gguf" in error.reason

    def test_further_problems_are_counted(self, document, refusal):
        """The first is told in full, the rest as a number."""
        document["version"] = 2
        document["colour"] = 1

        assert refusal(document).reason.endswith("(and 1 more)")

"""`models.schema.json` is the schema of the classes, and `models.json` obeys it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orion.cli.catalog import schema_text
from orion.registry import registry_schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def document() -> Any:
    """The shipped registry."""
    return json.loads((ROOT / "models.json").read_text(encoding="utf-8"))


class TestSchema:
    def test_file_equals_the_generated_schema(self):
        """Written by `orion schema > models.schema.json`, and not by hand."""
        assert (ROOT / "models.schema.json").read_text(encoding="utf-8") == schema_text()

    def test_is_a_valid_schema(self):
        """Of the draft it names."""
        jsonschema.Draft202012Validator.check_schema(registry_schema())

    def test_shipped_registry_obeys_it(self, document):
        """An editor that knows the schema shows no problem."""
        jsonschema.Draft202012Validator(registry_schema()).validate(document)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("colour",), 1),
            (("models", "smollm2-135m-instruct", "colour"), 1),
            (("models", "smollm2-135m-instruct", "architecture", "layers"), 0),
            (("models", "smollm2-135m-instruct", "variants", 0, "files", 0, "sha256"), "ABC"),
            (("models", "smollm2-135m-instruct", "variants", 0, "files", 0, "path"), "../x.gguf"),
            (("models", "smollm2-135m-instruct", "variants", 0, "files", 0, "path"), "x.bin"),
            (("models", "smollm2-135m-instruct", "variants", 0, "bits_per_weight"), -1),
            (("models", "smollm2-135m-instruct", "variants", 0, "source", "kind"), "ftp"),
            (("agents", "code-agent", "sampling", "temperature"), 99),
            (("recommendations", "tpu"), {}),
        ],
    )
    def test_refuses_what_the_classes_refuse(self, document, path, value):
        """An editor warns before `orion validate` does."""
        target = document
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value

        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(registry_schema()).validate(document)

    def test_every_object_refuses_unknown_keys(self):
        """`additionalProperties` is said everywhere."""
        definitions = registry_schema()["$defs"].values()

        objects = [each for each in definitions if each.get("type") == "object"]

        assert objects
        assert all(each["additionalProperties"] is False for each in objects)

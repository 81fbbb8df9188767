"""How the transformers runtime finds, makes, checks and refuses what it loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orion.errors import (
    AgentLoadError,
    BadWeightsError,
    ConversionError,
    HomeNotWritableError,
    WeightsMissingError,
)
from orion.registry.manifest import read_manifest
from orion.runtime.transformers import TransformersRuntime
from orion.runtime.transformers.checkpoint import refuse_code
from orion.runtime.transformers.making import make_derived
from tests.fakes.tiny_gguf import hub_folder, hub_variant
from tests.fakes.tiny_model import DERIVED, Phases, Tiny, say, spec_for

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # of the tensor libraries; ours run in other modules
]


@pytest.fixture
def copied_home(tiny: Tiny, tmp_path: Path) -> Path:
    """A home of its own with the same files, to be damaged."""
    shutil.copytree(tiny.home, tmp_path / "home")
    return tmp_path / "home"


class TestLoad:
    def test_the_first_load_imports_and_says_how_far_it_is(self, tiny: Tiny) -> None:
        """Phases come in order, ratios never fall within a phase."""
        ratios = [r for phase, r in tiny.phases.seen if phase == "importing" and r is not None]

        assert tiny.phases.order == [
            "verifying",
            "importing",
            "initializing",
            "loading_shard",
            "completing",
        ]
        assert ratios == sorted(ratios)
        assert ratios[-1] == 1.0

    def test_it_has_the_slots_it_was_given_in_the_models_context(self, tiny: Tiny) -> None:
        """The context asked for is not always the context given."""
        assert (tiny.loaded.slots, tiny.loaded.context_tokens) == (4, 200)
        assert tiny.loaded.details["device"] == "cpu"

    def test_layers_are_four_bit_and_the_import_is_kept(self, tiny: Tiny) -> None:
        """Two finished folders named by the sha256 of the source, and nothing else."""
        from bitsandbytes.nn import Linear4bit

        layers = [m for m in tiny.runtime._model.modules() if isinstance(m, Linear4bit)]
        manifests = [read_manifest(folder) for folder in tiny.folders]

        assert len(layers) == 2 * 7
        assert all(layer.weight.quant_state.quant_type == "nf4" for layer in layers)
        assert len(tiny.folders) == 2
        assert {m.source.sha256 for m in manifests if m} == {tiny.source["files"][0]["sha256"]}
        assert all(f.name.startswith(tiny.source["files"][0]["sha256"][:16]) for f in tiny.folders)

    def test_the_second_load_imports_nothing_and_answers_the_same(self, tiny: Tiny) -> None:
        """What was saved is what was made."""
        again, phases = TransformersRuntime(), Phases()
        tiny.load(again, phases)

        assert "importing" not in phases.order
        assert say(again, "hello")[0].text == say(tiny.runtime, "hello")[0].text

    def test_a_flipped_bit_is_refused_and_the_folder_is_made_again(
        self, tiny: Tiny, copied_home: Path
    ) -> None:
        """The damaged file is named, never served, and gone for the next load."""
        folder = copied_home / "models" / "tiny" / "nf4" / tiny.folders[1].name
        weights = folder / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-100] ^= 1
        weights.write_bytes(data)
        spec = spec_for(copied_home, DERIVED, import_from=tiny.source)

        with pytest.raises(BadWeightsError, match=r"model\.safetensors"):
            TransformersRuntime().load(spec, Phases())
        assert not folder.exists()
        phases = Phases()
        TransformersRuntime().load(spec, phases)

        assert "importing" in phases.order
        assert read_manifest(folder) is not None

    def test_a_file_added_to_the_import_is_refused(self, tiny: Tiny, copied_home: Path) -> None:
        """`from_pretrained` would read files nobody listed."""
        folder = copied_home / "models" / "tiny" / "nf4" / tiny.folders[1].name
        (folder / "adapter_config.json").write_text("{}")

        with pytest.raises(BadWeightsError, match="adapter_config"):
            TransformersRuntime().load(
                spec_for(copied_home, DERIVED, import_from=tiny.source), Phases()
            )

    def test_a_source_that_is_not_here_says_how_to_get_it(self, tiny: Tiny, tmp_path: Path) -> None:
        """Without import and without source there is nothing to load."""
        with pytest.raises(WeightsMissingError, match=r"tiny\.gguf"):
            TransformersRuntime().load(
                spec_for(tmp_path, DERIVED, import_from=tiny.source), Phases()
            )

    def test_without_a_source_variant_nothing_is_imported(self, tmp_path: Path) -> None:
        """An incomplete request is refused before anything is touched."""
        with pytest.raises(AgentLoadError, match="not given"):
            TransformersRuntime().load(spec_for(tmp_path, DERIVED), Phases())

    @pytest.mark.parametrize("precision", ["f16", "nf4"])
    def test_a_listed_checkpoint_loads_as_it_is_or_in_four_bits(
        self, tiny: Tiny, tmp_path: Path, precision: str
    ) -> None:
        """Files pinned in the registry need no import."""
        folder = hub_folder(tmp_path)
        ignored = shutil.ignore_patterns("manifest.json")
        shutil.copytree(tiny.folders[0], folder, ignore=ignored)
        variant = hub_variant(
            folder, id="st", runtime="transformers", format="safetensors", precision=precision
        )
        loaded = TransformersRuntime()
        loaded.load(spec_for(tmp_path, variant), Phases())

        assert say(loaded, "hello")[1].completion_tokens > 0
        (folder / "extra.json").write_text("{}")
        with pytest.raises(BadWeightsError, match=r"extra\.json"):
            TransformersRuntime().load(spec_for(tmp_path, variant), Phases())

    def test_a_gguf_variant_is_not_for_this_runtime(self, tiny: Tiny) -> None:
        """It says what it loads."""
        with pytest.raises(AgentLoadError, match="safetensors only"):
            TransformersRuntime().load(spec_for(tiny.home, tiny.source), Phases())


class TestMaking:
    def test_a_damaged_gguf_is_refused_with_its_name(self, tmp_path: Path) -> None:
        """And nothing is left where the import would be."""
        bad = tmp_path / "bad.gguf"
        bad.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\x01" * 64)

        with pytest.raises(ConversionError, match=r"bad\.gguf"):
            make_derived(bad, base=tmp_path / "out", nf4=None, dtype="float32", progress=Phases())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.gguf"]

    def test_a_place_that_cannot_be_written_is_named(self, tiny: Tiny, tmp_path: Path) -> None:
        """A home below a file can never be made."""
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "out"

        with pytest.raises(HomeNotWritableError):
            make_derived(tiny.gguf, base=out, nf4=None, dtype="float32", progress=Phases())


class TestRefuseCode:
    @pytest.mark.parametrize(
        ("file", "data"),
        [
            ("config.json", {"auto_map": {"AutoModel": "x.Y"}}),
            ("config.json", {"_attn_implementation": "someone/kernel"}),
            ("config.json", {"text_config": {"_attn_implementation_internal": "a/b:c"}}),
            ("config.json", {"attn_implementation": {"": "a/b"}}),
            ("config.json", {"quantization_config": {"quant_method": "exotic"}}),
            ("config.json", {"custom_pipelines": {"x": {"impl": "a.B"}}}),
            ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["x.Y", None]}}),
            ("generation_config.json", {"list": [{"custom_generate": "a/b"}]}),
        ],
    )
    def test_configuration_that_names_code_is_refused(
        self, tmp_path: Path, file: str, data: dict[str, Any]
    ) -> None:
        """The file is named."""
        (tmp_path / file).write_text(json.dumps(data))

        with pytest.raises(BadWeightsError, match=file):
            refuse_code("tiny", tmp_path)

    def test_configuration_that_is_no_json_is_refused(self, tmp_path: Path) -> None:
        """Before a library tries to read it."""
        (tmp_path / "config.json").write_text("{")

        with pytest.raises(BadWeightsError, match=r"config\.json"):
            refuse_code("tiny", tmp_path)

    def test_plain_configuration_passes(self, tmp_path: Path) -> None:
        """What the import writes is accepted."""
        data = {"_attn_implementation": "sdpa", "auto_map": {}, "model_type": "llama"}
        (tmp_path / "config.json").write_text(json.dumps(data))

        refuse_code("tiny", tmp_path)

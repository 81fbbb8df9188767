"""Field types and closed vocabularies of `models.json`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

WEIGHT_SUFFIXES = ("gguf", "safetensors", "json", "txt", "jinja", "model")

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_GLOB_SEGMENT = r"[A-Za-z0-9_*][A-Za-z0-9_.+*-]*"
_SUFFIX = rf"\.({'|'.join(WEIGHT_SUFFIXES)})"
PATH_PATTERN = rf"^({_SEGMENT}/)*{_SEGMENT}{_SUFFIX}$"
GLOB_PATTERN = rf"^({_GLOB_SEGMENT}/)*{_GLOB_SEGMENT}{_SUFFIX}$"


def relative_path(path: str) -> str:
    """`path`, if it is a plain relative POSIX path with a suffix of weights.

    Raises:
        ValueError: Absolute, leads upwards, has odd characters or another suffix.
    """
    return _checked(path, PATH_PATTERN)


def glob_path(path: str) -> str:
    """As `relative_path`; `*` may stand for any part of a name."""
    return _checked(path, GLOB_PATTERN)


def _checked(path: str, pattern: str) -> str:
    if re.fullmatch(pattern.strip("^$"), path):
        return path
    if re.search(rf"{_SUFFIX}\Z", path) is None:
        msg = f"the suffix must be one of .{', .'.join(WEIGHT_SUFFIXES)}"
        raise ValueError(msg)
    msg = "must be a relative path of plain names, without '..'"
    raise ValueError(msg)


Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
RepoId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"),
]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
Prose = Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=r"\S")]
FilePath = Annotated[
    str,
    Field(min_length=1, max_length=300, json_schema_extra={"pattern": PATH_PATTERN}),
    AfterValidator(relative_path),
]
FileGlob = Annotated[
    str,
    Field(min_length=1, max_length=300, json_schema_extra={"pattern": GLOB_PATTERN}),
    AfterValidator(glob_path),
]


class Entry(BaseModel):
    """Base of every object in the file: no unknown key, no coercion, no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


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

"""The settings table of README.md, made from `orion.settings.Settings`."""

from __future__ import annotations

import sys
import types
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from pydantic import BaseModel, SecretStr  # noqa: E402 - after the path is set

from orion.settings import Settings  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

README = ROOT / "README.md"
START = "<!-- settings: made by `make docs` -->"
END = "<!-- end of settings -->"

# Defaults that depend on the machine, in words that hold on every machine.
COMPUTED = {
    "ORION_HOME": "`orion` in the user's cache folder",
    "ORION_REGISTRY": "`models.json` here, else beside the package",
}


def rows(model: type[BaseModel], prefix: str = "ORION_") -> Iterator[tuple[str, str, str, str]]:
    """`(variable, values, default, description)` of every field, groups opened."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from rows(field.annotation, f"{variable}__")
        else:
            yield variable, _values(field), _default(variable, field), field.description or "-"


def table() -> str:
    """The whole block of README.md, markers included."""
    lines = [START, "| variable | values | default | what it is |", "|---|---|---|---|"]
    for variable, values, default, description in rows(Settings):
        lines.append(f"| `{variable}` | {values} | {default} | {description} |")
    return "\n".join([*lines, END])


def replaced(text: str) -> str:
    """`text` of README.md with its block made anew.

    Raises:
        ValueError: The markers are missing.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        msg = f"README.md lacks {START} … {END}"
        raise ValueError(msg)
    return before + table() + after


def _values(field: FieldInfo) -> str:
    bounds = {type(rule).__name__.lower(): rule for rule in field.metadata}
    words = [_type_words(field.annotation)]
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if name in bounds:
            words.append(f"{sign} {getattr(bounds[name], name):,}")
    return ", ".join(words)


def _type_words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_words(part) for part in get_args(annotation))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f"`{value}`" for value in annotation)
    names = {
        type(None): "unset",
        bool: "`true`, `false`",
        dict: "JSON",
        float: "number",
        int: "whole number",
        Path: "path",
        SecretStr: "secret text",
        str: "text",
        tuple: "JSON list",
    }
    if origin is not None:
        annotation = origin
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(variable: str, field: FieldInfo) -> str:
    if field.default_factory is dict or field.default == ():
        return "`[]`" if field.default == () else "`{}`"
    if field.default_factory is not None:
        return COMPUTED[variable]
    if field.default is None:
        return "unset"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, str) and not field.default:
        return "empty"
    return f"`{field.default}`"


def main(arguments: list[str]) -> int:
    """Print the table, or with `--write` put it into README.md."""
    if "--write" in arguments:
        README.write_text(replaced(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A streamer that waits without a limit waits for ever when `generate` dies."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "orion"
STREAMERS = {"TextIteratorStreamer", "AsyncTextIteratorStreamer"}


def endless(source: str) -> list[int]:
    """Lines where a streamer of transformers is made without `timeout`, or hidden."""
    found: list[int] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and name_of(node.func) in STREAMERS:
            found += [] if is_limited(node) else [node.lineno]
        elif isinstance(node, ast.ClassDef):
            found += [base.lineno for base in node.bases if name_of(base) in STREAMERS]
        elif isinstance(node, ast.alias) and node.asname and node.name in STREAMERS:
            found.append(node.lineno)
    return sorted(found)


def name_of(node: ast.AST) -> str:
    """The last name of a dotted expression."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_limited(call: ast.Call) -> bool:
    """Whether `timeout` is given by name, and is not None."""
    return any(
        keyword.arg == "timeout"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None)
        for keyword in call.keywords
    )


class TestStreamerBan:
    @pytest.mark.parametrize(
        "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
    )
    def test_no_streamer_waits_without_a_limit(self, path):
        """In no module of ours."""
        assert endless(path.read_text(encoding="utf-8")) == []

    @pytest.mark.parametrize(
        "source",
        [
            "TextIteratorStreamer(tokenizer)",
            "TextIteratorStreamer(tokenizer, True)",
            "TextIteratorStreamer(tokenizer, timeout=None)",
            "transformers.TextIteratorStreamer(tokenizer, skip_prompt=True)",
            "AsyncTextIteratorStreamer(tokenizer)",
            "class Mine(TextIteratorStreamer): ...",
            "from transformers import TextIteratorStreamer as Streamer",
        ],
    )
    def test_what_is_banned_is_seen(self, source):
        """Called, derived from, or renamed."""
        assert endless(source) == [1]

    @pytest.mark.parametrize(
        "source",
        [
            "TextIteratorStreamer(tokenizer, timeout=5.0)",
            "from transformers import TextIteratorStreamer",
            "Queue(timeout=None)",
        ],
    )
    def test_what_is_limited_passes(self, source):
        """Only the endless wait is banned."""
        assert endless(source) == []

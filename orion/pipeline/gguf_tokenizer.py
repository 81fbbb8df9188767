"""The tokenizer of a GGUF file, with the splitting rule that the file names.

transformers reads vocabulary and merges of a byte-level BPE but not `tokenizer.ggml.pre`,
so a third of mixed texts came out in other tokens than the model was trained on.
The rules here give llama.cpp's tokens on random mixtures of scripts, digits and emoji.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})
_PLAIN = frozenset({"gpt-2"})
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_WORD_RULES = {"llama-bpe": _WORDS % "{1,3}", "qwen2": _WORDS % ""}


def read_tokenizer(source: Path) -> Any:
    """The file's tokenizer as a transformers object.

    Raises:
        ConversionError: The file names a splitting rule that is not known here.
    """
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    fields = GGUFReader(source).fields
    tokenizer = AutoTokenizer.from_pretrained(
        source.parent, gguf_file=source.name, local_files_only=True, trust_remote_code=False
    )
    kind = fields.get("tokenizer.ggml.model")
    if kind is not None and kind.contents() == "gpt2":
        rule = fields.get("tokenizer.ggml.pre")
        name = str(rule.contents()) if rule is not None else "default"
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer(name, source=source.name)
    return tokenizer


def pre_tokenizer(rule: str, *, source: str) -> Any:
    """How text is cut before merging, by llama.cpp's name of the rule.

    Raises:
        ConversionError: The rule is not known; guessing would change the tokens.
    """
    from tokenizers import Regex, pre_tokenizers

    if rule in _DIGITS:
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if rule in _PLAIN:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if rule in _WORD_RULES:
        words = pre_tokenizers.Split(Regex(_WORD_RULES[rule]), behavior="isolated")
        rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([words, rest])
    reason = f"its pre-tokenizer {rule!r} is not supported"
    raise ConversionError(source=source, reason=reason)

"""A checkpoint's tokenizer: two ways in, and what counts as the end of a turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orion.errors import AgentLoadError, ConversionError
from orion.pipeline.gguf_tokenizer import pre_tokenizer
from orion.pipeline.nf4 import quantize_nf4
from orion.runtime.transformers.tokenizer import CheckpointTokenizer

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<end>{% endfor %}"


def added(token: int, text: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": text, "special": special, **flags}


def write_checkpoint(folder: Path, *, config: dict[str, Any] | None = None, **parts: Any) -> Path:
    """Tokens are single characters; `<s>` is special, `<end>` and `<think>` are only added."""
    characters = "▁ abcdefghijklmnopqrstuvwxyz<>[]/"
    vocabulary = {character: index for index, character in enumerate(characters)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            added(33, "<s>", special=True),
            added(34, "<end>", special=False),
            added(35, "<think>", special=False),
        ],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        **parts,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    settings = {"chat_template": TEMPLATE} if config is None else config
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


class TestEncoding:
    def test_added_tokens_exist_only_in_template_text(self, tmp_path):
        """Special or not, a person's text never becomes one."""
        tokenizer = CheckpointTokenizer(write_checkpoint(tmp_path), model="m")

        assert tokenizer.encode_control("<s>a<think>")[0] == 33
        assert tokenizer.control_ids == {33, 34, 35}
        assert tokenizer.control_ids.isdisjoint(tokenizer.encode_content("<s>a<think><end>"))
        assert tokenizer.decode(tokenizer.encode_content("<s>a")) == "<s>a"

    @pytest.mark.parametrize(
        "parts",
        [
            {
                "pre_tokenizer": {
                    "type": "Metaspace",
                    "replacement": "▁",
                    "prepend_scheme": "always",
                    "split": True,
                }
            },
            {"normalizer": {"type": "Prepend", "prepend": "▁"}},
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [
                        {"type": "Prepend", "prepend": "▁"},
                        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                    ],
                }
            },
        ],
    )
    def test_no_space_is_put_in_front_of_a_content(self, tmp_path, parts):
        """It would be a character nobody wrote."""
        tokenizer = CheckpointTokenizer(write_checkpoint(tmp_path, **parts), model="m")

        assert tokenizer.decode(tokenizer.encode_content("ab")) == "ab"

    def test_what_the_template_writes_after_an_answer_ends_it(self, tmp_path):
        """As do special tokens; other added tokens are text when the model writes them."""
        tokenizer = CheckpointTokenizer(write_checkpoint(tmp_path), model="m")

        assert tokenizer.ending_ids == {33, 34}

    def test_a_template_that_ends_in_a_content_names_no_end(self, tmp_path):
        """Then only special tokens end a turn."""
        source = "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}"
        folder = write_checkpoint(tmp_path, config={"chat_template": source})

        assert CheckpointTokenizer(folder, model="m").ending_ids == {33}


class TestChatTemplateOfACheckpoint:
    def test_a_file_of_its_own_goes_before_the_configuration(self, tmp_path):
        """As transformers reads it."""
        folder = write_checkpoint(tmp_path, config={"chat_template": "loses it"})
        (folder / "chat_template.jinja").write_text(TEMPLATE)

        assert CheckpointTokenizer(folder, model="m").ending_ids == {33, 34}

    def test_of_named_templates_the_default_is_taken(self, tmp_path):
        """Tool templates are for later."""
        named = [
            {"name": "tool_use", "template": "x"},
            {"name": "default", "template": TEMPLATE + "{{ bos_token }}{{ unk_token }}"},
        ]
        config = {
            "chat_template": named,
            "bos_token": {"content": "<s>"},
            "unk_token": "[unk]",
        }
        tokenizer = CheckpointTokenizer(write_checkpoint(tmp_path, config=config), model="m")

        assert tokenizer.template.accepts_system

    @pytest.mark.parametrize("config", [{}, {"chat_template": [{"name": "x", "template": "y"}]}])
    def test_without_a_template_a_checkpoint_is_not_served(self, tmp_path, config):
        """Guessing how to address a model is worse."""
        with pytest.raises(AgentLoadError, match="no chat template"):
            CheckpointTokenizer(write_checkpoint(tmp_path, config=config), model="m")

    @pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
    def test_a_damaged_file_is_a_failed_load(self, tmp_path, name):
        """Not an exception of some library."""
        folder = write_checkpoint(tmp_path)
        (folder / name).write_text("{")

        with pytest.raises(AgentLoadError, match="tokenizer cannot be read"):
            CheckpointTokenizer(folder, model="m")


class TestPreTokenizer:
    @pytest.mark.parametrize(
        ("rule", "pieces"),
        [
            ("smollm", ["x", "1", "2", "3", "4", "Ġyou", "'", "LL"]),
            ("gpt-2", ["x", "1234", "Ġyou", "'", "LL"]),
            ("llama-bpe", ["x", "123", "4", "Ġyou", "'LL"]),
            ("qwen2", ["x", "1", "2", "3", "4", "Ġyou", "'LL"]),
        ],
    )
    def test_text_is_cut_as_the_rule_says(self, rule, pieces):
        """Digits one by one, in threes, or together."""
        cut = pre_tokenizer(rule, source="m.gguf").pre_tokenize_str("x1234 you'LL")

        assert [piece for piece, _ in cut] == pieces

    def test_an_unknown_rule_is_refused(self):
        """Other tokens than the model learned would be worse than none."""
        with pytest.raises(ConversionError, match="'exotic' is not supported"):
            pre_tokenizer("exotic", source="m.gguf")


def test_only_a_finished_import_is_quantised(tmp_path):
    """A folder without a manifest is not trusted."""
    with pytest.raises(ConversionError, match="not a finished import"):
        quantize_nf4(tmp_path, tmp_path / "out", dtype="float32", progress=lambda *_: None)

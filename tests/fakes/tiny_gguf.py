"""A GGUF file of a random two-layer Llama with one token per byte: real format, 250 kB."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType

HIDDEN, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 2, 128, 256
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<file_sep>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_characters() -> list[str]:
    """How byte-level BPE writes each byte as a printable character."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(shifted)) for byte in range(256)]


def write_tiny_gguf(path: Path, *, seed: int = 0, pre: str = "smollm") -> Path:
    """Write the file and return its path; another seed gives another model."""
    generator = np.random.default_rng(seed)
    characters = byte_characters()
    merged = ["he", "ll"]
    tokens = [*SPECIAL, *characters, *merged]
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    kinds = [TokenType.CONTROL] * len(SPECIAL)
    writer.add_token_types(kinds + [TokenType.NORMAL] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(["h e", "l l"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int) -> None:
        values = generator.normal(0.0, 0.3, shape).astype(np.float32)
        if name == "output.weight":
            values[: len(SPECIAL)] = 0.0  # its greedy answers do not end by themselves
        writer.add_tensor(name, np.ones(shape, np.float32) if "norm" in name else values)

    add("token_embd.weight", len(tokens), HIDDEN)
    add("output_norm.weight", HIDDEN)
    add("output.weight", len(tokens), HIDDEN)
    for layer in range(LAYERS):
        add(f"blk.{layer}.attn_norm.weight", HIDDEN)
        add(f"blk.{layer}.ffn_norm.weight", HIDDEN)
        add(f"blk.{layer}.attn_q.weight", HIDDEN, HIDDEN)
        add(f"blk.{layer}.attn_k.weight", HIDDEN // HEADS, HIDDEN)
        add(f"blk.{layer}.attn_v.weight", HIDDEN // HEADS, HIDDEN)
        add(f"blk.{layer}.attn_output.weight", HIDDEN, HIDDEN)
        add(f"blk.{layer}.ffn_gate.weight", INNER, HIDDEN)
        add(f"blk.{layer}.ffn_up.weight", INNER, HIDDEN)
        add(f"blk.{layer}.ffn_down.weight", HIDDEN, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def file_entry(path: Path) -> dict[str, Any]:
    """The registry's entry for a file as it is."""
    data = path.read_bytes()
    return {
        "path": path.name,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def hub_variant(folder: Path, **given: Any) -> dict[str, Any]:
    """A pinned Hub variant of every file in `folder`, as plain values."""
    return {
        "id": "source",
        "runtime": "llamacpp",
        "format": "gguf",
        "precision": "f32",
        "bits_per_weight": 32.0,
        "source": {"kind": "hub", "repo": "test/tiny", "revision": "0" * 40},
        "files": [file_entry(path) for path in sorted(folder.iterdir())],
        **given,
    }


def hub_folder(home: Path) -> Path:
    """Where the files of that Hub variant are looked for."""
    return home / "hub" / "test--tiny" / ("0" * 40)

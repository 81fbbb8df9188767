"""A tokenizer small enough to reason about, and the templates the tests render."""

from __future__ import annotations

import re

SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ message['role'] }}\n{{ message['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
CONTROLS = (
    "<|im_start|>",
    "<|im_end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
    "<think>",
)


class CharTokenizer:
    """Control tokens have ids from 0, every other character its code point + 1000.

    With `stubborn` the control tokens are recognised in contents too, as some
    tokenizers do with added tokens that are not special.
    """

    def __init__(self, *, stubborn: bool = False) -> None:
        self.stubborn = stubborn
        self.calls: list[tuple[str, str]] = []

    @property
    def control_ids(self) -> frozenset[int]:
        return frozenset(range(len(CONTROLS)))

    def encode_control(self, text: str) -> list[int]:
        self.calls.append(("control", text))
        pieces = re.split("(" + "|".join(re.escape(token) for token in CONTROLS) + ")", text)
        ids: list[int] = []
        for piece in pieces:
            ids += [CONTROLS.index(piece)] if piece in CONTROLS else self.characters(piece)
        return ids

    def encode_content(self, text: str) -> list[int]:
        if self.stubborn:
            return self.encode_control(text)
        self.calls.append(("content", text))
        return self.characters(text)

    @staticmethod
    def characters(text: str) -> list[int]:
        return [ord(character) + 1000 for character in text]

    @staticmethod
    def decode(ids: list[int]) -> str:
        return "".join(CONTROLS[i] if i < 1000 else chr(i - 1000) for i in ids)

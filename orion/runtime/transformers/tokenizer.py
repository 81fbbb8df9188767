"""A checkpoint's tokenizer, with two ways in: template text and text people wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orion.errors import AgentLoadError
from orion.runtime.prompt import ChatTemplate
from orion.types import Message, Role

if TYPE_CHECKING:
    from pathlib import Path


class CheckpointTokenizer:
    """`tokenizer.json` of a checkpoint, without any of transformers' own additions.

    `control_ids` are all added tokens. `ending_ids` are those that end an answer: the
    special ones and what the template writes after an answer; other added tokens
    (`<think>`) are text when the model writes them.

    Raises:
        AgentLoadError: A file is missing or unreadable, or there is no chat template.
    """

    def __init__(self, folder: Path, *, model: str) -> None:
        import tokenizers

        try:
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            text = (folder / "tokenizer.json").read_text(encoding="utf-8")
            self._control = tokenizers.Tokenizer.from_str(text)
            self._content = tokenizers.Tokenizer.from_str(_without_added_tokens(text))
        except Exception as error:
            reason = f"its tokenizer cannot be read ({type(error).__name__})"
            raise AgentLoadError(model=model, reason=reason) from error
        added = self._control.get_added_tokens_decoder()
        self._control_ids = frozenset(added)
        self.template = _chat_template(folder, config, model=model)
        special = {token for token, entry in added.items() if entry.special}
        self.ending_ids = frozenset(special | self._ends_of_turn())

    @property
    def control_ids(self) -> frozenset[int]:
        """Every added or special id."""
        return self._control_ids

    def encode_control(self, text: str) -> list[int]:
        """Ids of text the template wrote."""
        return list(self._control.encode(text, add_special_tokens=False).ids)

    def encode_content(self, text: str) -> list[int]:
        """Ids of text a person wrote: the added tokens do not exist here."""
        return list(self._content.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`; U+FFFD where bytes are no character."""
        return str(self._control.decode(ids, skip_special_tokens=False))

    def _ends_of_turn(self) -> set[int]:
        turns = [
            Message(role=Role.USER, content="x"),
            Message(role=Role.ASSISTANT, content="y"),
        ]
        segments = self.template.segments(turns, add_generation_prompt=False)
        if segments[-1].is_content:
            return set()
        ids = self.encode_control(segments[-1].text)
        return {token for token in ids[:1] if token in self._control_ids}


def _without_added_tokens(text: str) -> str:
    """The same tokenizer knowing no added token, and putting no space in front."""
    data: dict[str, Any] = json.loads(text)
    data["added_tokens"] = []
    data["post_processor"] = None
    for part in _parts(data.get("pre_tokenizer")):
        if part.get("type") == "Metaspace":
            part["prepend_scheme"] = "never"
        elif part.get("type") == "ByteLevel":
            part["add_prefix_space"] = False
    normalizer = data.get("normalizer") or {}
    if normalizer.get("type") == "Prepend":
        data["normalizer"] = None
    elif normalizer.get("type") == "Sequence":
        kept = [part for part in normalizer["normalizers"] if part.get("type") != "Prepend"]
        normalizer["normalizers"] = kept
    return json.dumps(data)


def _parts(pre_tokenizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    if not pre_tokenizer:
        return []
    return list(pre_tokenizer.get("pretokenizers", [pre_tokenizer]))


def _chat_template(folder: Path, config: dict[str, Any], *, model: str) -> ChatTemplate:
    file = folder / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source}
        source = named.get("default")
    if not isinstance(source, str):
        raise AgentLoadError(model=model, reason="it has no chat template")
    tokens = {
        name: _token_text(config[name])
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if config.get(name)
    }
    return ChatTemplate(
        source,
        bos_token=tokens.pop("bos_token", ""),
        eos_token=tokens.pop("eos_token", ""),
        variables=tokens,
        model=model,
    )


def _token_text(value: Any) -> str:
    return str(value["content"] if isinstance(value, dict) else value)

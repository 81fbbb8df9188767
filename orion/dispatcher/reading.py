"""How many tokens a text has, guessed from what was read before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHARS_PER_TOKEN = 3.5
_WEIGHT = 0.1
_LEAST_CHARS = 200


@dataclass(slots=True)
class Reading:
    """Characters per token, learned: to bound a queue, the parent needs no tokenizer."""

    chars_per_token: float = _CHARS_PER_TOKEN

    def tokens(self, texts: Iterable[str]) -> int:
        """Tokens of `texts`, roughly."""
        return int(sum(map(len, texts)) / self.chars_per_token) + 1

    def learn(self, texts: Iterable[str], tokens: int) -> None:
        """`texts` were so many tokens; short ones are mostly template and teach nothing."""
        chars = sum(map(len, texts))
        if chars >= _LEAST_CHARS and tokens > 0:
            self.chars_per_token += _WEIGHT * (chars / tokens - self.chars_per_token)
            self.chars_per_token = min(8.0, max(0.5, self.chars_per_token))

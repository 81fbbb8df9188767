"""A guess at the language of a message, from its script and its commonest words."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from orion.routing.vocabulary import LANGUAGE_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_LATIN_SHARE = 0.5
_TELLING = {"¿": "es", "¡": "es", "ñ": "es", "ß": "de", "ã": "pt", "õ": "pt"}
_MARGIN = 1
_LOOK_CHARS = 2000


def fold(text: str) -> str:
    """`text` lower case, without accents, apostrophes and hyphens as spaces."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return bare.replace("'", " ").replace("\u2019", " ").replace("-", " ")


def guess_language(words: Sequence[str], text: str) -> str:
    """ISO 639-1 code of a language of the word lists, or `"other"` for another script.

    Args:
        words: Folded words of the message.
        text: The message as it came; its letters tell the script.
    """
    letters = [char for char in text[:400] if char.isalpha()]
    latin = sum(ord(char) < 0x250 for char in letters)  # noqa: PLR2004 - end of Latin Extended-B
    if letters and latin < _LATIN_SHARE * len(letters):
        return "other"
    for char, language in _TELLING.items():
        if char in text[:400]:
            return language
    seen = set(words)
    hits = {
        language: len(seen.intersection(common.split()))
        for language, common in LANGUAGE_WORDS.items()
    }
    best = max(hits, key=lambda language: hits[language])
    ours = max(hits["en"], hits["fr"])
    if best not in ("en", "fr") and hits[best] - ours <= _MARGIN:
        return "en" if hits["en"] >= hits["fr"] else "fr"
    return best


def language_of(text: str) -> str:
    """The language of a message by its beginning; see `guess_language`."""
    beginning = text[:_LOOK_CHARS]
    return guess_language(re.findall(r"\w+", fold(beginning)), beginning)

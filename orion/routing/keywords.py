"""The baseline router: words that give a message away, in English and French.

It is here to be beaten and says so in every route it makes (`router`). Matching is by
whole words and phrases of a folded text, so it is linear in the length of the message.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from orion.registry import AGENT_IDS, CONVERSATION_AGENT
from orion.routing import vocabulary
from orion.routing.language import fold, guess_language
from orion.types import Message, Role, Route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CODE, _MULTILINGUAL = "code-agent", "multilingual-agent"
_REASONING = "reasoning-agent"
_GROUPS = {
    CONVERSATION_AGENT: vocabulary.CONVERSATION,
    _CODE: vocabulary.CODE,
    _REASONING: vocabulary.REASONING,
    "creative-agent": vocabulary.CREATIVE,
    _MULTILINGUAL: vocabulary.MULTILINGUAL,
}
_CODE_MARKS = ("```", "();", "){", "=>", "#!/", "</", "==", "!=", "->", "def ", "::", "[0]")
_STRONG, _WEAK, _LANGUAGE, _MARK = 2.0, 0.7, 6.0, 1.5
_PRIOR = {CONVERSATION_AGENT: 0.6}
_NUMBERS = 2
_ABSTAIN_BELOW = 0.38
_READ_CHARS = 4000
_FOLLOW_UP_WORDS = 6
_FOLLOW_UP = 1.5


class KeywordRouter:
    """Scores each agent by the words found, then a softmax; no word found: conversation."""

    name = "keyword-baseline"

    def __init__(self) -> None:
        self._words: dict[str, list[tuple[str, float]]] = {}
        self._phrases: list[tuple[str, str, float]] = []
        for agent, groups in _GROUPS.items():
            for group, weight in zip(groups, (_STRONG, _WEAK), strict=True):
                parts = group.split("|")
                for word in " ".join(parts[::2]).split():
                    self._words.setdefault(word, []).append((agent, weight))
                self._phrases += [(f" {part} ", agent, weight) for part in parts[1::2]]

    def route(self, text: str, history: Sequence[Message] = ()) -> Route:
        """The agent for `text`; a short follow-up leans to the agent of the turn before."""
        began_s = time.perf_counter()
        points, why = self._points(text[:_READ_CHARS])
        if history and len(text.split()) <= _FOLLOW_UP_WORDS:
            before = [turn.content for turn in history if turn.role is Role.USER][-1:]
            earlier, _ = self._points(before[0][:_READ_CHARS] if before else "")
            favourite = max(earlier, key=lambda agent: earlier[agent])
            if earlier[favourite] > _STRONG:
                points[favourite] += _FOLLOW_UP
                why.append(f"follow-up of a message for {favourite}")
        total = sum(math.exp(value) for value in points.values())
        scores = {agent: round(math.exp(value) / total, 4) for agent, value in points.items()}
        best = max(scores, key=lambda agent: scores[agent])
        abstained = scores[best] < _ABSTAIN_BELOW
        return Route(
            agent=CONVERSATION_AGENT if abstained else best,
            confidence=scores[CONVERSATION_AGENT if abstained else best],
            scores=scores,
            abstained=abstained,
            reason=_reason(why, best, abstained=abstained),
            router=self.name,
            latency_ms=round((time.perf_counter() - began_s) * 1000, 3),
        )

    def _points(self, text: str) -> tuple[dict[str, float], list[str]]:
        folded = fold(text)
        for phrase in vocabulary.DECEPTIVE:
            folded = folded.replace(phrase, "")
        words = list(_words(folded))
        points = {agent: _PRIOR.get(agent, 0.0) for agent in AGENT_IDS}
        why: list[str] = []
        for word in dict.fromkeys(words):
            for agent, weight in self._words.get(word, ()):
                points[agent] += weight
                why.append(f"“{word}” for {agent}")
        line = f" {' '.join(words)} "
        for phrase, agent, weight in self._phrases:
            if phrase in line:
                points[agent] += weight
                why.append(f"“{phrase.strip()}” for {agent}")
        self._add_marks(text, words, points, why)
        language = guess_language(words, text)
        if language not in ("en", "fr"):
            points[_MULTILINGUAL] += _LANGUAGE
            why.insert(0, f"neither English nor French ({language}), so {_MULTILINGUAL}")
        return points, why

    @staticmethod
    def _add_marks(text: str, words: list[str], points: dict[str, float], why: list[str]) -> None:
        """Signs of code, or else several numbers."""
        marks = sum(mark in text for mark in _CODE_MARKS)
        if marks:
            points[_CODE] += min(3, marks) * _MARK
            why.append(f"code marks for {_CODE}")
        elif sum(word.isdigit() for word in words) >= _NUMBERS:
            points[_REASONING] += _STRONG
            why.append(f"several numbers for {_REASONING}")


def _words(folded: str) -> Iterator[str]:
    """Letters, digits, `+` and `#` (c++, c#) make a word."""
    word: list[str] = []
    for char in folded:
        if char.isalnum() or char in "+#":
            word.append(char)
        elif word:
            yield "".join(word)
            word.clear()
    if word:
        yield "".join(word)


def _reason(why: list[str], best: str, *, abstained: bool) -> str:
    if not why:
        return "no telling word, so conversation"
    telling = [reason for reason in why if best in reason][:3] or why[:3]
    found = ", ".join(telling)
    return f"not sure ({found}), so conversation" if abstained else found

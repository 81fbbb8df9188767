"""Answers given again to the same question, and one generation for many equal questions."""

from orion.answer_cache.cache import AnswerCache
from orion.answer_cache.flight import MessageKind, Seat, Source
from orion.answer_cache.key import AnswerKey, Question
from orion.answer_cache.store import Hit, StoredAnswer

__all__ = [
    "AnswerCache",
    "AnswerKey",
    "Hit",
    "MessageKind",
    "Question",
    "Seat",
    "Source",
    "StoredAnswer",
]

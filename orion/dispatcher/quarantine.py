"""Requests that ended their workers: known by a keyed fingerprint, refused after two deaths."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from orion.errors import QuarantinedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_KNOWN_MAX = 4096
_SEPARATOR = b"\x00"


@dataclass(slots=True)
class _Case:
    """How often a content was in flight when a worker died, when last, and on which models."""

    deaths: int = 0
    last_s: float = 0.0
    models: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Quarantine:
    """Counts deaths per content for `span_s` seconds. Dispatcher thread only.

    The key lives as long as the process: a fingerprint says nothing outside it. Whoever was
    in flight at a death is a suspect, the innocent too. An answer by the model it died on clears
    a suspect, and a suspect runs alone (see `Desk.may_grant`), so a second death has one culprit.
    """

    deaths_max: int
    span_s: float
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _cases: OrderedDict[str, _Case] = field(default_factory=OrderedDict)

    def fingerprint(self, content: Iterable[str]) -> str:
        """A name for what a caller wrote; "" for nothing."""
        digest = blake2b(key=self._key, digest_size=16)
        is_empty = True
        for part in content:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(str(len(data)).encode() + _SEPARATOR + data)
            is_empty = False
        return "" if is_empty else digest.hexdigest()

    def note_death(self, fingerprints: Iterable[str], model: str, now_s: float) -> None:
        """A worker that held `model` died with these in flight."""
        for fingerprint in {*fingerprints} - {""}:
            case = self._cases.setdefault(fingerprint, _Case())
            if now_s - case.last_s >= self.span_s:
                case.deaths = 0
                case.models.clear()
            case.deaths += 1
            case.models.add(model)
            case.last_s = now_s
            self._cases.move_to_end(fingerprint)
        while len(self._cases) > _KNOWN_MAX:
            self._cases.popitem(last=False)

    def clear(self, fingerprint: str, model: str) -> None:
        """`model` answered it: it is not what ends that model's workers."""
        case = self._cases.get(fingerprint)
        if case is not None:
            case.models.discard(model)
            if not case.models:
                del self._cases[fingerprint]

    def is_suspect(self, fingerprint: str, now_s: float) -> bool:
        """Whether a worker died under it lately."""
        case = self._cases.get(fingerprint)
        return case is not None and now_s - case.last_s < self.span_s

    def refusal(self, fingerprint: str, model: str, now_s: float) -> QuarantinedError | None:
        """Why it is refused on a model it died on; None: it is not."""
        left_s = self._left_s(fingerprint, now_s)
        if left_s is None or model not in self._cases[fingerprint].models:
            return None
        return QuarantinedError(minutes=max(1, round(left_s / 60)), retry_after_s=left_s)

    def _left_s(self, fingerprint: str, now_s: float) -> float | None:
        case = self._cases.get(fingerprint)
        if case is None or case.deaths < self.deaths_max:
            return None
        left_s = case.last_s + self.span_s - now_s
        return left_s if left_s > 0 else None

    def count(self, now_s: float) -> int:
        """How many are refused now. From any thread."""
        return sum(
            self._left_s(fingerprint, now_s) is not None for fingerprint in list(self._cases)
        )

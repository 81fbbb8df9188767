"""Models whose worker was lost: loaded again in the background, with growing pauses."""

from __future__ import annotations

from dataclasses import dataclass, field

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_LONGEST_CRASH_PAUSE_S = 2.0
_LIVED_S = 2.0


@dataclass(slots=True)
class _Loss:
    due_s: float
    failures: int = 0


@dataclass(slots=True)
class _Past:
    """How often a model came back only to be lost again soon, and useless."""

    back_s: float
    crashes: int = 0
    proved: bool = True


@dataclass(slots=True)
class Revival:
    """Which models ought to be resident and are not, and when to try next.

    The first try is at once. After a load that failed, or a worker that died within two seconds
    and without an answer, the next one waits, each time twice as long. Only what happens in
    the background waits: a request loads its model when it comes. Dispatcher thread only, but
    for `models`.
    """

    _losses: dict[str, _Loss] = field(default_factory=dict)
    _past: dict[str, _Past] = field(default_factory=dict)

    @property
    def models(self) -> frozenset[str]:
        """Those that are missing. From any thread."""
        return frozenset(list(self._losses))

    def wanted(self, model: str, now_s: float) -> None:
        """It should be resident, and nothing is known against it."""
        self._losses.setdefault(model, _Loss(due_s=now_s))

    def lost(self, model: str, now_s: float) -> None:
        """The worker that held it has crashed."""
        past = self._past.setdefault(model, _Past(back_s=now_s - _LIVED_S))
        in_vain = not past.proved and now_s - past.back_s < _LIVED_S
        past.crashes = past.crashes + 1 if in_vain else 0
        pause_s = 0.0
        if past.crashes:
            pause_s = _pause_s(past.crashes - 1, _LONGEST_CRASH_PAUSE_S)
        self._losses.setdefault(model, _Loss(due_s=now_s + pause_s))

    def failed(self, model: str, now_s: float, *, hopeless: bool = False) -> None:
        """A load of it failed: wait longer before the next, longest where nothing has changed."""
        loss = self._losses.setdefault(model, _Loss(due_s=now_s))
        grown_s = _LONGEST_PAUSE_S if hopeless else _pause_s(loss.failures, _LONGEST_PAUSE_S)
        loss.failures += 1
        loss.due_s = now_s + grown_s

    def back(self, model: str, now_s: float) -> None:
        """It is resident again."""
        self._losses.pop(model, None)
        past = self._past.setdefault(model, _Past(back_s=now_s))
        past.back_s, past.proved = now_s, False

    def proved(self, model: str) -> None:
        """It has given an answer."""
        if model in self._past:
            self._past[model].proved = True

    def forget(self, model: str) -> None:
        """Nobody wants it any more."""
        self._losses.pop(model, None)

    def due(self, now_s: float) -> list[str]:
        """Those to try now."""
        return [model for model, loss in self._losses.items() if now_s >= loss.due_s]


def _pause_s(times: int, longest_s: float) -> float:
    return min(longest_s, _FIRST_PAUSE_S * 2.0 ** min(times, 16))

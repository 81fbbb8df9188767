"""Models whose worker was lost: loaded again in the background, with growing pauses."""

from __future__ import annotations

from dataclasses import dataclass, field

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class _Loss:
    due_s: float
    failures: int = 0


@dataclass(slots=True)
class Revival:
    """Which models ought to be resident and are not, and when to try next.

    Dispatcher thread only, but for `models`.
    """

    _losses: dict[str, _Loss] = field(default_factory=dict)

    @property
    def models(self) -> frozenset[str]:
        """Those that are missing. From any thread."""
        return frozenset(list(self._losses))

    def lost(self, model: str, now_s: float) -> None:
        """The worker that held it is gone; the first try is at once."""
        self._losses.setdefault(model, _Loss(due_s=now_s))

    def failed(self, model: str, now_s: float, *, pause_s: float = 0.0) -> None:
        """A load of it failed: wait longer before the next."""
        loss = self._losses.get(model)
        if loss is None:
            return
        grown_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**loss.failures)
        loss.failures = min(loss.failures + 1, 16)
        loss.due_s = now_s + max(pause_s, grown_s)

    def settled(self, model: str) -> None:
        """It is resident again, or nobody wants it any more."""
        self._losses.pop(model, None)

    def due(self, now_s: float) -> list[str]:
        """Those to try now."""
        return [model for model, loss in self._losses.items() if now_s >= loss.due_s]

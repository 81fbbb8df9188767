"""Token ids → text as they arrive: never half a character, never part of a stop string."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_REPLACEMENT = "\ufffd"
_LONGEST_UNFINISHED = 3


class Detokenizer:
    """Ids one by one → the text they add.

    A character whose bytes are spread over several tokens is held back until it is
    whole; bytes that never become a character come out as U+FFFD.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._fresh = 0
        self._given = 0

    def push(self, token: int) -> str:
        """Text that became certain with `token`; may be empty."""
        self._window.append(token)
        self._fresh += 1
        text = self._decode(self._window)
        certain = len(text) - _unfinished(text)
        piece = text[self._given : certain]
        self._given = max(self._given, certain)
        if certain == len(text):
            # Older ids matter only as the context in which the newest are decoded.
            self._window = self._window[-self._fresh :]
            self._given = len(self._decode(self._window))
            self._fresh = 0
        return piece

    def finish(self) -> str:
        """What was held back, complete or not."""
        piece = self._decode(self._window)[self._given :]
        self._given += len(piece)
        return piece


def _unfinished(text: str) -> int:
    """How many characters at the end may still turn into another one."""
    tail = text[-_LONGEST_UNFINISHED:]
    return len(tail) - len(tail.rstrip(_REPLACEMENT))


class StopMatcher:
    """Text in, the same text out up to the first stop string.

    The stop string that ends first wins; what might become one is held back. Any split
    of the same text gives the same result.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """The part of what came so far that is certain to be answer."""
        if self.matched is not None:
            return ""
        text = self._held + text
        ends = [
            (start + len(stop), start, stop)
            for stop in self._stops
            if (start := text.find(stop)) >= 0
        ]
        if ends:
            _, start, self.matched = min(ends)
            self._held = ""
            return text[:start]
        keep = len(text) - self._beginning_at_end(text)
        self._held = text[keep:]
        return text[:keep]

    def finish(self) -> str:
        """What was held back and did not become a stop string."""
        held, self._held = self._held, ""
        return held

    def _beginning_at_end(self, text: str) -> int:
        longest = min(len(text), max((len(stop) - 1 for stop in self._stops), default=0))
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


class TextStream:
    """The two in a row: ids in, text fit to be shown out."""

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = ()) -> None:
        self._characters = Detokenizer(decode)
        self._answer = StopMatcher(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met; nothing comes out after it."""
        return self._answer.matched is not None

    def push(self, token: int) -> str:
        """Text that became certain with `token`; may be empty."""
        return self._answer.push(self._characters.push(token))

    def finish(self) -> str:
        """The rest, once no token follows."""
        return self._answer.push(self._characters.finish()) + self._answer.finish()

"""One request to an engine on a thread of its own, with the moment of every event."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from orion.types import DeltaEvent, ErrorEvent, FinalEvent, RequestState, StateEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.engine import Engine
    from orion.types import Event


class Asked:
    """A stream being read. Ends by itself; `leave` closes it as a caller that goes would.

    Attributes:
        events: `(moment, event)` pairs, moments monotonic.
        begun_s: When it was asked.
        ended_s: When its last event came; `inf` before.
    """

    def __init__(self, engine: Engine, text: str, **options: Any) -> None:
        self.message = text
        self.events: list[tuple[float, Event]] = []
        self.begun_s = time.monotonic()
        self.ended_s = float("inf")
        self.broke: BaseException | None = None
        self._changed = threading.Condition()
        self._leaving = threading.Event()
        self._stream = engine.stream(text, **options)
        self._thread = threading.Thread(target=self._walk, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """What has come, in the order in which it came."""
        return "".join(event.text for _, event in self.events if isinstance(event, DeltaEvent))

    @property
    def num_tokens(self) -> int:
        """Words of what has come."""
        return len(self.text.split())

    @property
    def end(self) -> FinalEvent | ErrorEvent | None:
        """The last event, if it has come."""
        last = self.events[-1][1] if self.events else None
        return last if isinstance(last, FinalEvent | ErrorEvent) else None

    @property
    def code(self) -> str:
        """The code of its error, or ""."""
        return self.end.error.code if isinstance(self.end, ErrorEvent) else ""

    def entered_s(self, state: RequestState) -> float | None:
        """When it first entered `state`."""
        for moment_s, event in list(self.events):
            if isinstance(event, StateEvent) and event.state is state:
                return moment_s
        return None

    def reached(self, num_tokens: int, limit_s: float) -> bool:
        """Wait for that many tokens (0: until it runs); False if it ended or takes too long."""

        def is_there() -> bool:
            if num_tokens == 0:
                return self.entered_s(RequestState.INFERENCING) is not None
            return self.num_tokens >= num_tokens

        return self._wait(lambda: is_there() or self.end is not None, limit_s) and is_there()

    def wait(self, limit_s: float) -> bool:
        """Whether it ends in time."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def leave(self) -> None:
        """Close the stream at its next event, as a caller that goes away; returns at once."""
        self._leaving.set()

    def _wait(self, condition: Callable[[], bool], limit_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, limit_s)

    def _walk(self) -> None:
        try:
            for event in self._stream:
                with self._changed:
                    self.events.append((time.monotonic(), event))
                    if self.end is not None:
                        self.ended_s = self.events[-1][0]
                    self._changed.notify_all()
                if self._leaving.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - told in the table, not lost in a thread
            self.broke = error
        finally:
            self._stream.close()
            with self._changed:
                self._changed.notify_all()


def told(asked: Asked) -> dict[str, Any]:
    """What is kept of a request that did not end as it should."""
    return {
        "message": asked.message,
        "code": asked.code,
        "text": asked.text[-80:],
        "states": [str(event.state) for _, event in asked.events if isinstance(event, StateEvent)],
        "broke": repr(asked.broke) if asked.broke else "",
    }

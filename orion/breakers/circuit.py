"""pybreaker's breaker as a record of state, with every way of running work through it shut.

pybreaker holds its lock while the work runs: one slow call makes all others wait, a refusal
waits for the trial. Its storage, states and listeners are kept; admission is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pybreaker import (
    CircuitBreaker,
    CircuitBreakerListener,
    CircuitMemoryStorage,
)

from orion.breakers.state import BreakerState
from orion.errors import BreakerMisuseError

if TYPE_CHECKING:
    from pybreaker import CBStateType

    from orion.breakers.state import BreakerEvent


class Circuit(CircuitBreaker):
    """State and counters of one breaker in pybreaker's storage.

    Work never runs through it: `acquire()` a permit from the `Breaker` instead.
    """

    def __init__(self, name: str) -> None:
        self.storage = CircuitMemoryStorage(BreakerState.CLOSED)
        super().__init__(name=name, state_storage=self.storage)

    @property
    def state(self) -> CBStateType:
        """The state as pybreaker's listeners want it; looking changes nothing."""
        return self._create_new_state(self.storage.state)

    @state.setter
    def state(self, _: str) -> None:
        self._refuse("state")

    def call(self, *_: object, **__: object) -> NoReturn:
        """Refused.

        Raises:
            BreakerMisuseError: Always.
        """
        self._refuse("call")

    def calling(self) -> NoReturn:
        """Refused, like `call`."""
        self._refuse("calling")

    def call_async(self, *_: object, **__: object) -> NoReturn:
        """Refused, like `call`."""
        self._refuse("call_async")

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Refused as a decorator, like `call`."""
        self._refuse("decorator")

    def open(self) -> NoReturn:
        """Refused: the state belongs to the `Breaker`."""
        self._refuse("open")

    def half_open(self) -> NoReturn:
        """Refused, like `open`."""
        self._refuse("half_open")

    def close(self) -> NoReturn:
        """Refused, like `open`."""
        self._refuse("close")

    def tell(self, listener: CircuitBreakerListener, event: BreakerEvent) -> None:
        """Hand an event to a pybreaker listener, where the state changed."""
        if event.old is not event.new:
            old, new = (self._create_new_state(state) for state in (event.old, event.new))
            listener.state_change(self, old, new)

    def _refuse(self, what: str) -> NoReturn:
        raise BreakerMisuseError(
            breaker=self.name,
            reason=f"runs no work and changes no state through pybreaker's `{what}`",
        )

"""Where the admin orders faults, in tests and in shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.dispatcher import Fault
from orion.errors import FaultsOffError, InvalidQueryError
from orion.types import FaultKind

if TYPE_CHECKING:
    from collections.abc import Collection

    from orion.engine.services import Services

_TIMES_MAX = 1000


class FaultDesk:
    """Checks an order and puts it where it strikes.

    Every method raises `FaultsOffError` unless `enabled`.
    """

    def __init__(self, services: Services, *, enabled: bool) -> None:
        self._services = services
        self._enabled = enabled

    def inject(self, agent: Any, kind: Any, *, where: Any, times: Any) -> dict[str, Any]:
        """Note a fault; see `Engine.inject_fault`.

        Raises:
            InvalidQueryError: There is no such agent, kind or place.
        """
        self._check()
        registry = self._services.registry
        model = registry.agent(_chosen("agent", agent, registry.agents)).model
        kind = FaultKind(_chosen("kind", kind, [str(known) for known in FaultKind]))
        where = _chosen("where", where, ("generate", "load"))
        if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= _TIMES_MAX:
            raise InvalidQueryError(field="times", reason=f"must be 1 to {_TIMES_MAX}")
        target = agent if where == "generate" else model
        fault = Fault(target=target, where=where, kind=kind, times=times)
        self._services.dispatcher.faults.add(fault)
        told = {"target": target, "where": where, "kind": str(kind), "times": times}
        self._services.log.warning("fault.injected", **told)
        return told

    def pending(self) -> list[dict[str, Any]]:
        """Those that have not struck yet."""
        self._check()
        return self._services.dispatcher.faults.pending()

    def clear(self) -> int:
        """Forget them; returns how many there were."""
        self._check()
        return self._services.dispatcher.faults.clear()

    def _check(self) -> None:
        if not self._enabled:
            raise FaultsOffError


def _chosen(field: str, value: Any, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise InvalidQueryError(field=field, reason=f"must be one of: {', '.join(known)}")
    return value

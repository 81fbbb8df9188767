"""The endpoints that need the admin token: memory, breakers, faults."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from orion.errors import InvalidQueryError, UnauthorizedError

if TYPE_CHECKING:
    from orion.engine import Engine


class AdminEndpoints:
    """What each endpoint does, once the token is the right one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(
        self,
        name: str,
        token: str,
        keep_alive: str | float | None = None,
        pin: bool | None = None,
    ) -> dict[str, Any]:
        """Bring a model into memory. Needs the admin token.

        Args:
            name: An agent id or a model id.
            token: The value of ORION_ADMIN_TOKEN on the server.
            keep_alive: How long it then stays when idle: seconds, or "10m"; negative for ever.
            pin: True: it leaves only when asked to. False: it is not pinned any more.

        Returns:
            What is resident now.
        """
        self._check(token)
        return self._engine.load(checked_text("name", name), keep_alive=keep_alive, pin=pin)

    def unload(self, name: str, token: str) -> dict[str, Any]:
        """Take a model out of memory, a pinned one too. Needs the admin token.

        Args:
            name: An agent id or a model id.
            token: The value of ORION_ADMIN_TOKEN on the server.

        Returns:
            "model" and "unloaded".
        """
        self._check(token)
        return self._engine.unload(checked_text("name", name))

    def reload(self, token: str) -> dict[str, Any]:
        """Read models.json again, while requests run. Needs the admin token.

        An invalid file changes nothing, and the error says what is wrong with it.

        Args:
            token: The value of ORION_ADMIN_TOKEN on the server.

        Returns:
            "changed", "added", "removed" and "kept" (names), "registry_sha256", "seconds".
        """
        self._check(token)
        return self._engine.reload()

    def reset_breakers(self, token: str, name: str | None = None) -> dict[str, Any]:
        """Close breakers and forget what they counted. Needs the admin token.

        Args:
            token: The value of ORION_ADMIN_TOKEN on the server.
            name: An agent id, a model id or the name of a breaker; all of them if not given.

        Returns:
            "reset": the names of the breakers.
        """
        self._check(token)
        wanted = None if name is None else checked_text("name", name)
        return {"reset": self._engine.reset_breakers(wanted)}

    def force_open(self, name: str, token: str) -> dict[str, Any]:
        """Hold breakers open until /reset_breakers. Needs the admin token.

        Args:
            name: An agent id, a model id or the name of a breaker.
            token: The value of ORION_ADMIN_TOKEN on the server.

        Returns:
            "opened": the names of the breakers.
        """
        self._check(token)
        return {"opened": self._engine.force_open(checked_text("name", name))}

    def inject_fault(
        self, agent: str, kind: str, token: str, where: str = "generate", times: int = 1
    ) -> dict[str, Any]:
        """Make the next loads or answers of an agent go wrong. Needs the admin token.

        Only where the server was started with ORION_FAULTS=1.

        Args:
            agent: An agent id; for a load, its model is meant.
            kind: "fail", "slow", "hang", "oom" (out of memory) or "kill" (its process dies).
            token: The value of ORION_ADMIN_TOKEN on the server.
            where: "generate" or "load".
            times: How many of them, 1 to 1000.

        Returns:
            The fault as it was noted.
        """
        self._check(token)
        return self._engine.inject_fault(agent, kind, where=where, times=times)

    def faults(self, token: str) -> list[dict[str, Any]]:
        """The faults that wait to happen. Needs the admin token.

        Args:
            token: The value of ORION_ADMIN_TOKEN on the server.

        Returns:
            One entry per fault.
        """
        self._check(token)
        return self._engine.faults()

    def clear_faults(self, token: str) -> dict[str, Any]:
        """Forget the faults that wait to happen. Needs the admin token.

        Args:
            token: The value of ORION_ADMIN_TOKEN on the server.

        Returns:
            "cleared": how many there were.
        """
        self._check(token)
        return {"cleared": self._engine.clear_faults()}

    def _check(self, token: object) -> None:
        """Refuse unless `token` is the configured one, in a time that tells nothing."""
        secret = self._engine.settings.admin_token
        expected = secret.get_secret_value() if secret else ""
        given = token if isinstance(token, str) else ""
        same = hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
        if not expected or not same:
            raise UnauthorizedError


def checked_text(field: str, value: object) -> str:
    """`value` without the space around it.

    Raises:
        InvalidQueryError: No text, or an empty one.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidQueryError(field=field, reason="must be a text that is not empty")
    return value.strip()

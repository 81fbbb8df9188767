"""The endpoints that need the admin token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orion.errors import InvalidQueryError, UnauthorizedError
from orion.ui.admin import AdminEndpoints
from tests.fakes.engine import ScriptedEngine

TOKEN = "secret-admin-token"
CALLS: dict[str, Callable[[AdminEndpoints, Any], Any]] = {
    "load": lambda admin, token: admin.load("code-agent", token),
    "unload": lambda admin, token: admin.unload("code-agent", token),
    "reload": lambda admin, token: admin.reload(token),
    "reset_breakers": lambda admin, token: admin.reset_breakers(token),
    "force_open": lambda admin, token: admin.force_open("code-agent", token),
    "inject_fault": lambda admin, token: admin.inject_fault("code-agent", "fail", token),
    "faults": lambda admin, token: admin.faults(token),
    "clear_faults": lambda admin, token: admin.clear_faults(token),
}


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(admin_token=TOKEN)


@pytest.fixture
def admin(engine: Any) -> AdminEndpoints:
    return AdminEndpoints(engine)


class TestToken:
    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.parametrize("token", ["", "wrong", None, 5, TOKEN[:-1], f"{TOKEN} "])
    def test_nothing_happens_without_it(
        self, engine: ScriptedEngine, admin: AdminEndpoints, name: str, token: Any
    ) -> None:
        """Every endpoint asks for it before it looks at anything else."""
        with pytest.raises(UnauthorizedError):
            CALLS[name](admin, token)

        assert engine.asked == []

    @pytest.mark.parametrize("name", CALLS)
    def test_is_needed_even_where_none_is_configured(self, name: str) -> None:
        """An empty token is no token."""
        engine: Any = ScriptedEngine()

        with pytest.raises(UnauthorizedError):
            CALLS[name](AdminEndpoints(engine), "")

    @pytest.mark.parametrize("name", CALLS)
    def test_with_it_the_engine_is_asked(
        self, engine: ScriptedEngine, admin: AdminEndpoints, name: str
    ) -> None:
        """Once."""
        CALLS[name](admin, TOKEN)

        assert [asked for asked, _ in engine.asked] == [name]


class TestMemory:
    def test_how_long_a_model_stays_is_handed_on(
        self, engine: ScriptedEngine, admin: AdminEndpoints
    ) -> None:
        """The engine checks it."""
        admin.load("code-agent", TOKEN, keep_alive="10m", pin=True)

        given = {"name": "code-agent", "keep_alive": "10m", "pin": True}
        assert engine.asked == [("load", given)]


class TestBreakers:
    def test_all_of_them_are_reset_unless_one_is_named(
        self, engine: ScriptedEngine, admin: AdminEndpoints
    ) -> None:
        """Names come back."""
        assert admin.reset_breakers(TOKEN) == {"reset": ["generate:code-agent"]}
        admin.reset_breakers(TOKEN, " code-agent ")

        assert engine.asked == [("reset_breakers", None), ("reset_breakers", "code-agent")]

    @pytest.mark.parametrize("name", ["", "  ", 7, None])
    def test_a_name_is_text(self, admin: AdminEndpoints, name: Any) -> None:
        """An empty one is none."""
        with pytest.raises(InvalidQueryError):
            admin.force_open(name, TOKEN)


class TestFaults:
    def test_are_handed_on_as_asked(self, engine: ScriptedEngine, admin: AdminEndpoints) -> None:
        """The engine checks them."""
        admin.inject_fault("code-agent", "hang", TOKEN, where="load", times=3)

        fault = {"target": "code-agent", "kind": "hang", "where": "load", "times": 3}
        assert engine.asked == [("inject_fault", fault)]

    def test_clearing_tells_how_many(self, admin: AdminEndpoints) -> None:
        """As a document, like every answer."""
        assert admin.clear_faults(TOKEN) == {"cleared": 2}

"""Engines for tests: a fast one with the fake runtime, and the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orion.build import build_engine
from orion.engine import Engine
from orion.settings import PACKAGE_ROOT, Settings

FAKE_RUNTIME = "tests.fakes.runtime:FakeRuntime"

MakeEngine = Callable[..., Engine]


def make_settings(home: Path, **given: Any) -> Settings:
    """Settings that touch nothing outside `home`."""
    base: dict[str, Any] = {
        "home": home,
        "registry": PACKAGE_ROOT / "models.json",
        "log": {"level": "ERROR", "format": "json"},
    }
    return Settings(**{**base, **given})


def leftovers(engine: Engine) -> dict[str, Any]:
    """What an engine that was shut down still holds: slots, places in the queue, permits."""
    stats = engine.stats()
    held = {
        "running": stats["requests"]["running"],
        "waiting": stats["queue"]["waiting"],
        "permits": [entry["name"] for entry in stats["breakers"] if entry["in_flight"]],
    }
    return {name: value for name, value in held.items() if value}


@pytest.fixture
def make_fake_engine(tmp_path: Path) -> Iterator[MakeEngine]:
    """Makes engines on the fake runtime: `make_fake_engine(executor="spawn", workers=2)`."""
    made: list[Engine] = []

    def make(**given: Any) -> Engine:
        options: dict[str, Any] = {
            "executor": "inprocess",
            "runtime_class": FAKE_RUNTIME,
            "admin_token": "secret-admin-token",
            "worker": {"spares": 0},
        }
        engine = build_engine(make_settings(tmp_path, **{**options, **given}))
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.shutdown(grace_s=0.0)
        assert leftovers(engine) == {}


@pytest.fixture
def fake_engine(make_fake_engine: MakeEngine) -> Engine:
    """A real engine whose model is scripted, in threads of this process."""
    return make_fake_engine()


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ORION_HOME for the whole run: hashes and imports are paid once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def real_engine(shared_home: Path) -> Iterator[Engine]:
    """The embedded model in a real child process, shared by the run."""
    settings = make_settings(shared_home, admin_token="secret-admin-token", runtime="llamacpp")
    with build_engine(settings) as engine:
        engine.load("conversation-agent")
        yield engine

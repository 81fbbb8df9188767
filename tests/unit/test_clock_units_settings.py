"""Clocks, numbers with units, and the start-up configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orion import settings as settings_module
from orion.clock import ManualClock, MonotonicClock
from orion.settings import (
    CHILD_ENVIRONMENT,
    ExecutorChoice,
    LimitSettings,
    RuntimeChoice,
    Settings,
    WorkerSettings,
    quiet_environment,
    space_environment,
    worker_environment,
)
from orion.units import format_bytes, format_seconds


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    """No ORION_ variable, and a folder of its own to stand in."""
    for name in [name for name in os.environ if name.startswith("ORION_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


class TestClock:
    def test_the_system_clock_does_not_go_back(self):
        """Two readings in a row are in order."""
        clock = MonotonicClock()

        first, second = clock.now(), clock.now()

        assert second >= first

    def test_a_manual_clock_moves_only_when_told(self):
        """Reading it changes nothing; advancing adds."""
        clock = ManualClock(10.0)

        assert clock.now() == clock.now() == 10.0
        clock.advance(2.5)
        assert clock.now() == 12.5

    def test_a_manual_clock_refuses_to_go_back(self):
        """It is monotonic like the real one."""
        with pytest.raises(ValueError, match="does not go back"):
            ManualClock().advance(-0.1)


class TestFormatBytes:
    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (98_362_432, "93.8 MiB"),
            (3 * 1024**3, "3.0 GiB"),
            (5 * 1024**4, "5.0 TiB"),
            (-2048, "-2.0 KiB"),
        ],
    )
    def test_it_takes_the_largest_fitting_unit(self, count, text):
        """Binary units, one decimal."""
        assert format_bytes(count) == text

    @given(st.integers(0, 2**60))
    def test_every_count_has_a_number_and_a_unit(self, count):
        """No count breaks the shape."""
        number, unit = format_bytes(count).split()

        assert float(number) >= 0
        assert unit in {"B", "KiB", "MiB", "GiB", "TiB"}


class TestFormatSeconds:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 ms"), (0.0123, "12 ms"), (3.21, "3.2 s"), (125, "2 min 5 s"), (3600, "60 min 0 s")],
    )
    def test_it_reads_like_speech(self, seconds, text):
        """Milliseconds, seconds, minutes."""
        assert format_seconds(seconds) == text


class TestSettings:
    def test_a_keyword_wins_over_the_environment(self, bare_environment):
        """Precedence: keyword, environment, default."""
        bare_environment.setenv("ORION_WORKERS", "3")

        assert Settings().workers == 3
        assert Settings(workers=2).workers == 2

    def test_a_group_is_reached_with_two_underscores(self, bare_environment):
        """`ORION_WORKER__SLOTS` sets `worker.slots` and leaves its neighbours."""
        bare_environment.setenv("ORION_WORKER__SLOTS", "8")

        assert Settings().worker == WorkerSettings(slots=8)

    def test_choices_come_from_their_words(self, bare_environment):
        """Enumerations are read from text."""
        bare_environment.setenv("ORION_RUNTIME", "llamacpp")
        bare_environment.setenv("ORION_EXECUTOR", "inprocess")

        settings = Settings()

        assert settings.runtime is RuntimeChoice.LLAMACPP
        assert settings.executor is ExecutorChoice.INPROCESS

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ORION_PORT", "70000"),
            ("ORION_PORT", "web"),
            ("ORION_WORKERS", "0"),
            ("ORION_RUNTIME", "abacus"),
            ("ORION_STREAM__HEARTBEAT_S", "0"),
            ("ORION_STREAM__HEARTBEAT_S", "nan"),
            ("ORION_DEADLINE__LOAD_S", "inf"),
            ("ORION_LOG__LEVEL", "LOUD"),
        ],
    )
    def test_a_value_out_of_range_is_refused_by_name(self, bare_environment, name, value):
        """A wrong variable stops the start and names the field."""
        bare_environment.setenv(name, value)

        with pytest.raises(ValidationError) as caught:
            Settings()

        field = name.removeprefix("ORION_").lower().split("__")[-1]
        assert caught.value.errors()[0]["loc"][-1] == field

    def test_an_unknown_keyword_is_refused(self, bare_environment):
        """A typing mistake in code is an error."""
        with pytest.raises(ValidationError, match="wokers"):
            Settings(wokers=2)

    def test_an_unknown_field_of_a_group_is_refused(self):
        """Groups neither take what they do not know."""
        with pytest.raises(ValidationError, match="message_words"):
            LimitSettings(message_words=3)

    def test_a_foreign_variable_does_no_harm(self, bare_environment):
        """`ORION_…` names of other programs and of the tests do not stop the start."""
        bare_environment.setenv("ORION_REQUIRE_BROWSER", "1")

        assert Settings().port == 7860

    def test_they_are_frozen(self, bare_environment):
        """After construction nothing changes, in groups neither."""
        settings = Settings()

        with pytest.raises(ValidationError):
            settings.port = 1
        with pytest.raises(ValidationError):
            settings.worker.slots = 1

    def test_the_admin_token_does_not_show(self, bare_environment):
        """A secret stays out of logs and reprs."""
        settings = Settings(admin_token="open sesame")

        assert "sesame" not in repr(settings) + str(settings.model_dump())
        assert settings.admin_token is not None
        assert settings.admin_token.get_secret_value() == "open sesame"


class TestDefaultPlaces:
    def test_home_follows_the_cache_folder(self, bare_environment, tmp_path):
        """XDG_CACHE_HOME decides where derived files live."""
        bare_environment.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

        assert Settings().home == tmp_path / "cache" / "orion"

    def test_home_without_a_cache_folder_is_below_the_users(self, bare_environment, tmp_path):
        """The usual place of caches."""
        bare_environment.delenv("XDG_CACHE_HOME", raising=False)
        bare_environment.setenv("HOME", str(tmp_path))

        assert Settings().home == tmp_path / ".cache" / "orion"

    def test_a_registry_in_the_working_folder_is_taken(self, bare_environment, tmp_path):
        """`models.json` beside the person, then the one beside the package."""
        assert Settings().registry == settings_module.PACKAGE_ROOT / "models.json"

        (tmp_path / "models.json").write_text("{}", encoding="utf-8")

        assert Settings().registry == Path("models.json")


class TestEnvironments:
    def test_quiet_leaves_what_a_person_set(self, monkeypatch):
        """Telemetry goes off unless somebody turned it on by hand."""
        for name in CHILD_ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("DO_NOT_TRACK", "0")

        quiet_environment()

        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        assert os.environ["DO_NOT_TRACK"] == "0"

    @pytest.mark.parametrize(
        "name", ["ORION_ADMIN_TOKEN", "HF_TOKEN", "OPENAI_API_KEY", "DB_PASSWORD", "AWS_SECRET"]
    )
    def test_a_worker_gets_no_secret(self, monkeypatch, name):
        """A child that runs foreign weights has nothing to give away."""
        monkeypatch.setenv(name, "hush")

        assert "hush" not in worker_environment().values()

    def test_a_worker_is_offline(self, monkeypatch):
        """Libraries in a child ask no hub."""
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")

        environment = worker_environment()

        assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
        assert environment["PATH"] == os.environ["PATH"]

    def test_a_space_describes_itself(self, monkeypatch):
        """Only the variables that are set, only those that are known."""
        for name in ("SPACE_ID", "SPACES_ZERO_GPU", "SPACE_HARDWARE", "MEMORY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("SPACE_ID", "somebody/orion")
        monkeypatch.setenv("CPU_CORES", "2")

        described = space_environment()

        assert described.items() >= {("SPACE_ID", "somebody/orion"), ("CPU_CORES", "2")}
        assert "MEMORY" not in described

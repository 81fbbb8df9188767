"""What was planned for the embedded model beside what its process was found to hold."""

from __future__ import annotations

import pytest

from orion.engine import Engine
from tests.unit.registry_support import EMBEDDED

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

WITHIN = 0.2


class TestNeed:
    def test_is_close_to_what_was_measured(self, real_engine: Engine) -> None:
        """Weights, attention states of every slot and the worker itself, within a fifth."""
        records = real_engine._services.dispatcher.records()
        record = next(one for one in records if one.plan and one.plan.model == EMBEDDED)

        assert record.plan
        assert record.loaded
        assert record.loaded.slots == 4
        assert record.plan.need_bytes == pytest.approx(record.loaded.memory_bytes, rel=WITHIN)

    def test_what_a_model_takes_is_shown(self, real_engine: Engine) -> None:
        """As measured, not as planned."""
        rows = {row["model"]: row for row in real_engine.stats()["models"]}

        assert rows[EMBEDDED]["state"] == "resident"
        assert rows[EMBEDDED]["bytes"] > 98_362_432

"""How a model is loaded: variant, slots by the memory there is, and what it is said to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orion.engine.planner import Planner, holdings_of
from orion.errors import NotServableError, UnknownAgentError
from orion.placement import Holdings, Profile
from orion.registry import RegistryRef, load_registry
from tests.conftest import FAKE_RUNTIME, make_settings
from tests.unit.registry_support import EMBEDDED, SHIPPED

MIB = 1024**2
SLOT = 23_040 * 4096
ONE = 98_362_432 + 96 * MIB
"""The embedded model without a slot."""


class Probe:
    """Says that so much is free."""

    total_bytes = None

    def __init__(self, free: int | None) -> None:
        self.free = free

    def free_bytes(self) -> int | None:
        return self.free


@pytest.fixture
def planner(tmp_path: Path) -> Any:
    """Makes planners on a machine with so much free memory."""

    def make(free: int | None = None, **given: Any) -> Planner:
        options: dict[str, Any] = {"runtime": "llamacpp", "memory": {"reserve_bytes": 0}}
        settings = make_settings(tmp_path, **{**options, **given})
        probe: Any = Probe(free)
        registries = RegistryRef(load_registry(SHIPPED))
        return Planner(registries, settings, cores=2, profile=Profile.CPU, probe=probe)

    return make


def row(model: str, size: int, *, state: str = "resident", pinned: bool = False) -> dict[str, Any]:
    return {"model": model, "bytes": size, "state": state, "pinned": pinned}


class TestPlan:
    def test_says_what_the_model_will_take(self, planner):
        """With all the slots that are wanted where nothing is known of the memory."""
        plan = planner().plan(EMBEDDED)

        assert (plan.load.slots, plan.need_bytes) == (4, ONE + 4 * SLOT)
        assert plan.load.kv_bytes == 512 * MIB
        assert plan.load.threads == 2

    def test_short_memory_means_fewer_slots(self, planner):
        """And nothing for the states of conversations that pause."""
        plan = planner(ONE + 3 * SLOT - 1).plan(EMBEDDED)

        assert (plan.load.slots, plan.need_bytes) == (2, ONE + 2 * SLOT)
        assert plan.load.kv_bytes == SLOT - 1

    def test_one_slot_is_asked_for_in_any_case(self, planner):
        """Whether that is too much is for the scheduler to say."""
        plan = planner(0).plan(EMBEDDED)

        assert (plan.load.slots, plan.need_bytes, plan.load.kv_bytes) == (1, ONE + SLOT, 0)

    def test_what_others_hold_will_be_free(self, planner):
        """Unless they are pinned."""
        made = planner(ONE + SLOT)
        made.look_at(lambda: [row("a", 2 * SLOT), row("b", SLOT, pinned=True)])

        assert made.plan(EMBEDDED).load.slots == 3

    def test_once_it_loads_it_keeps_to_what_was_set_aside(self, planner):
        """Nobody else leaves for it any more."""
        made = planner(ONE)
        made.look_at(lambda: [row("a", 9 * SLOT), row(EMBEDDED, ONE + 2 * SLOT, state="loading")])

        assert made.plan(EMBEDDED).load.slots == 2

    def test_a_budget_binds_whatever_is_free(self, planner):
        """For all models together."""
        budget = {"budget_bytes": ONE + 3 * SLOT, "reserve_bytes": 0}
        made = planner(1 << 40, memory=budget)
        made.look_at(lambda: [row("b", SLOT, pinned=True)])

        assert made.plan(EMBEDDED).load.slots == 2

    def test_nothing_is_known_of_another_runtime_class(self, planner):
        """The arithmetic is that of ours."""
        plan = planner(0, runtime_class=FAKE_RUNTIME).plan(EMBEDDED)

        assert (plan.load.slots, plan.need_bytes) == (4, 0)
        assert plan.runtime_class == FAKE_RUNTIME

    def test_the_source_of_a_derived_variant_is_handed_on(self, planner):
        """The worker makes it from that."""
        plan = planner(runtime="transformers").plan(EMBEDDED)

        assert plan.variant == "nf4"
        assert plan.load.options["import_from"]["id"] == "q4_1-gguf"
        assert plan.load.slots == 4

    def test_what_cannot_be_served_is_refused(self, planner):
        """With the reason."""
        with pytest.raises(NotServableError):
            planner().plan("qwen3-8b")
        with pytest.raises(UnknownAgentError):
            planner().plan("nobody")


class TestSpare:
    @pytest.mark.parametrize("runtime", ["llamacpp", "transformers"])
    def test_is_ready_for_the_runtime_that_is_asked_for(self, planner, runtime):
        """Or for the one that suits the machine."""
        assert f"orion.runtime.{runtime}:" in planner(runtime=runtime).default_class()
        assert "orion.runtime.llamacpp:" in planner(runtime="auto").default_class()


class TestHoldings:
    def test_are_sorted_by_who_may_go(self):
        """What the model itself still holds comes back."""
        rows = [
            row("a", 1),
            row("b", 2, pinned=True),
            row("c", 4, state="loading"),
            row("d", 8, state="leaving"),
            row("own", 16, pinned=True),
        ]

        assert holdings_of(rows, "own") == Holdings(
            evictable_bytes=25, pinned_bytes=2, coming_bytes=4
        )

    def test_a_load_that_has_begun_has_its_share(self):
        """Apart from those of others."""
        rows = [row("own", 16, state="loading"), row("a", 1, state="loading")]

        assert holdings_of(rows, "own") == Holdings(coming_bytes=1, reserved_bytes=16)

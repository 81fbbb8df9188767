"""What a model takes, what room there is for it, and what is free, in bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.placement import (
    Holdings,
    MemoryProbe,
    fit_slots,
    fit_spare_bytes,
    kv_bytes_per_token,
    memory_need,
    room_bytes,
    weights_bytes,
)
from orion.registry import Model, load_registry
from orion.types import RuntimeName
from tests.unit.registry_support import EMBEDDED, SHIPPED
from tests.unit.test_placement_machine import write

GIB = 1024**3
MIB = 1024**2
KIB = 1024
BYTES = st.integers(0, 1 << 45)
MAYBE = st.none() | BYTES


@pytest.fixture(scope="module")
def models() -> Any:
    return load_registry(SHIPPED).models


@pytest.fixture
def embedded(models: Any) -> Model:
    return models[EMBEDDED]


class TestArithmetic:
    def test_kv_bytes_of_a_token(self, models: Any) -> None:
        """2 · layers · kv_heads · head_dim · 2 bytes."""
        assert kv_bytes_per_token(models[EMBEDDED]) == 2 * 30 * 3 * 64 * 2
        assert kv_bytes_per_token(models["qwen3-4b"]) == 147_456

    def test_kv_bytes_are_not_guessed(self, embedded: Model) -> None:
        """A model that does not say how it is built."""
        assert kv_bytes_per_token(embedded.model_copy(update={"architecture": None})) == 0

    def test_weights_are_the_files(self, embedded: Model) -> None:
        """Where they are known."""
        assert weights_bytes(embedded, embedded.variants[0]) == 98_362_432

    def test_weights_of_a_derived_variant_follow_from_its_precision(self, embedded: Model) -> None:
        """Parameters at so many bits."""
        assert weights_bytes(embedded, embedded.variants[1]) == int(134_515_008 * 6.63 / 8)

    def test_all_slots_hold_their_context_from_the_start(self, embedded: Model) -> None:
        """As llama.cpp does."""
        need = memory_need(
            embedded, embedded.variants[0], context_tokens=4096, slots=4, room_bytes=None
        )

        assert need.slots == 4
        assert need.total_bytes == need.weights_bytes + need.overhead_bytes + 4 * need.slot_bytes
        assert need.slot_bytes == 23_040 * 4096

    def test_transformers_has_slots_too(self, embedded: Model) -> None:
        """Its attention states grow with the answers; there is room for all of them."""
        need = memory_need(
            embedded, embedded.variants[1], context_tokens=4096, slots=4, room_bytes=None
        )

        assert embedded.variants[1].runtime is RuntimeName.TRANSFORMERS
        assert need.slots == 4

    def test_fewer_slots_where_memory_is_short(self, embedded: Model) -> None:
        """Two fit, and then what is asked for fits."""
        room = 98_362_432 + 96 * MIB + 2 * 23_040 * 4096 + 1

        need = memory_need(
            embedded, embedded.variants[0], context_tokens=4096, slots=4, room_bytes=room
        )

        assert need.slots == 2
        assert need.total_bytes <= room

    @given(
        wanted=st.integers(1, 64),
        slot=st.integers(1, 1 << 40),
        room=st.integers(-(1 << 45), 1 << 45),
    )
    def test_slots_are_at_least_one_and_fit_if_they_can(
        self, wanted: int, slot: int, room: int
    ) -> None:
        """For any numbers."""
        slots = fit_slots(wanted, slot_bytes=slot, room_bytes=room)

        assert 1 <= slots <= wanted
        assert slots == 1 or slots * slot <= room
        assert slots == wanted or (slots + 1) * slot > room

    @given(wanted=BYTES, need=BYTES, room=MAYBE)
    def test_spare_bytes_take_nothing_from_what_is_needed(
        self, wanted: int, need: int, room: int | None
    ) -> None:
        """For any numbers."""
        spare = fit_spare_bytes(wanted, need_bytes=need, room_bytes=room)

        assert 0 <= spare <= wanted
        assert room is None or spare == 0 or need + spare <= room


class TestRoom:
    def test_others_that_may_go_count_as_room(self) -> None:
        """They will have gone before the load begins."""
        held = Holdings(evictable_bytes=3 * GIB, pinned_bytes=GIB)

        room = room_bytes(held, free_bytes=2 * GIB, budget_bytes=None, reserve_bytes=GIB)

        assert room == 4 * GIB

    def test_a_budget_is_shared_with_those_that_stay(self) -> None:
        """Whatever the machine has."""
        held = Holdings(evictable_bytes=3 * GIB, pinned_bytes=GIB)

        room = room_bytes(held, free_bytes=90 * GIB, budget_bytes=5 * GIB, reserve_bytes=GIB)

        assert room == 4 * GIB

    def test_once_its_load_has_begun_nobody_else_goes(self) -> None:
        """What was set aside for it is sure; beyond that only what is free."""
        held = Holdings(evictable_bytes=9 * GIB, reserved_bytes=2 * GIB)

        short = room_bytes(held, free_bytes=GIB, budget_bytes=None, reserve_bytes=0)
        ample = room_bytes(held, free_bytes=5 * GIB, budget_bytes=None, reserve_bytes=0)

        assert (short, ample) == (2 * GIB, 5 * GIB)

    def test_nothing_is_known_of_a_machine_that_does_not_tell(self) -> None:
        """And nothing is then taken off."""
        room = room_bytes(Holdings(), free_bytes=None, budget_bytes=None, reserve_bytes=GIB)

        assert room is None

    @given(sizes=st.tuples(BYTES, BYTES, BYTES, BYTES), free=MAYBE, budget=MAYBE, reserve=BYTES)
    def test_is_never_below_what_was_set_aside_nor_beyond_the_limits(
        self, sizes: tuple[int, ...], free: int | None, budget: int | None, reserve: int
    ) -> None:
        """For any numbers."""
        evictable, pinned, coming, reserved = sizes
        held = Holdings(
            evictable_bytes=evictable,
            pinned_bytes=pinned,
            coming_bytes=coming,
            reserved_bytes=reserved,
        )

        room = room_bytes(held, free_bytes=free, budget_bytes=budget, reserve_bytes=reserve)

        assert room is None or room >= reserved
        if room is not None and room > reserved:
            assert free is None or room <= free + evictable
            assert budget is None or room <= budget


MEMINFO = f"MemTotal: {16 * MIB} kB\nMemAvailable: {8 * MIB} kB\nMapped: {MIB} kB\n"


class TestProbe:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """Where `proc` and `sys` hang."""
        write(tmp_path, {"proc/meminfo": MEMINFO})
        return tmp_path

    def probe(self, root: Path, **given: Any) -> MemoryProbe:
        return MemoryProbe(total_bytes=16 * GIB, root=root, **given)

    def test_mapped_weights_are_not_free(self, root: Path) -> None:
        """The system calls them available; whoever took them would slow their model down."""
        assert self.probe(root).free_bytes() == 7 * GIB

    def test_shared_memory_is_not_taken_off_twice(self, root: Path) -> None:
        """It is mapped, and was not available in the first place."""
        write(root, {"proc/meminfo": MEMINFO + f"Shmem: {MIB} kB\n"})

        assert self.probe(root).free_bytes() == 8 * GIB

    def test_is_read_anew_at_each_call(self, root: Path) -> None:
        """After an unload there is more."""
        probe = self.probe(root)
        before = probe.free_bytes()

        write(root, {"proc/meminfo": "MemAvailable: 1024 kB\n"})

        assert (before, probe.free_bytes()) == (7 * GIB, MIB)

    @pytest.mark.parametrize("version", [1, 2])
    def test_a_control_group_that_is_nearly_full_counts(self, root: Path, version: int) -> None:
        """Files that nobody has mapped would make room; those of resident models would not."""
        files = {"inactive_file": 2 * GIB, "active_file": GIB, "file_mapped": GIB}
        prefix = "" if version == 2 else "total_"
        names = {"file_mapped": "mapped_file"} if version == 1 else {}
        stat = "".join(f"{prefix}{names.get(key, key)} {size}\n" for key, size in files.items())
        if version == 2:
            limit, used = "a/memory.max", "a/memory.current"
            write(root, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/cgroup.controllers": ""})
            base = "sys/fs/cgroup/"
        else:
            limit, used = "a/memory.limit_in_bytes", "a/memory.usage_in_bytes"
            write(root, {"proc/self/cgroup": "4:memory:/a\n"})
            base = "sys/fs/cgroup/memory/"
        write(
            root,
            {
                base + limit: str(4 * GIB),
                base + used: str(4 * GIB),
                base + "a/memory.stat": stat,
            },
        )

        assert self.probe(root).free_bytes() == 2 * GIB

    def test_what_a_container_announces_is_a_limit_too(self, root: Path) -> None:
        """Less what is used of it, as far as that is known."""
        write(
            root,
            {
                "proc/self/cgroup": "0::/a\n",
                "sys/fs/cgroup/cgroup.controllers": "",
                "sys/fs/cgroup/a/memory.max": "max",
                "sys/fs/cgroup/a/memory.current": str(GIB),
            },
        )

        assert self.probe(root, announced_bytes=3 * GIB).free_bytes() == 2 * GIB

    def test_without_counts_this_process_and_its_children_are_summed(self, root: Path) -> None:
        """Some container systems hide the control groups."""
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            free = self.probe(root, announced_bytes=3 * GIB).free_bytes()
        finally:
            child.communicate(b"\n")

        assert free is not None
        assert 0 < free < 3 * GIB - psutil.Process().memory_info().rss // 2

    def test_a_machine_without_the_file_is_not_known(self, tmp_path: Path) -> None:
        """Unless another system tells it in its own way."""
        assert self.probe(tmp_path / "nothing").free_bytes() is None

    @pytest.mark.parametrize("content", ["", "MemTotal: 5 kB\n", "MemAvailable: much\n"])
    def test_an_odd_file_is_not_known(self, root: Path, content: str) -> None:
        """Nothing odd becomes a number of bytes."""
        write(root, {"proc/meminfo": content})

        assert self.probe(root).free_bytes() is None

    def test_this_machine_has_some(self) -> None:
        """Read from its own files."""
        free = MemoryProbe(total_bytes=None).free_bytes()

        assert free is not None
        assert free > MIB

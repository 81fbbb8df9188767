"""Slots of llama.cpp: a session comes back to its own, and finds nobody else's words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orion.errors import GenerationError
from orion.runtime.llamacpp.slots import Held, SlotTable
from orion.runtime.llamacpp.vault import SAVE_PATH, Vault, can_keep_states
from tests.fakes.slots import FakeSlots

SYSTEM = list(range(20))


def words(first: int, count: int = 100) -> list[int]:
    return list(range(first, first + count))


class TestSlotTable:
    def test_a_session_comes_back_to_its_slot(self):
        """Others get one that nobody used, then the least recently used one."""
        table = SlotTable(3)
        for session in "abc":
            choice = table.take(session, words(0))
            assert choice
            assert not choice.is_own
            table.give_back(choice.slot, Held(session=session, ids=tuple(words(0))))

        back = table.take("a", words(0, 150))
        other = table.take("d", words(0, 150))

        assert back
        assert (back.slot, back.is_own, back.victim) == (0, True, None)
        assert other
        assert (other.slot, other.is_own) == (1, False)
        assert other.victim == Held(session="b", ids=tuple(words(0)))

    def test_slots_at_work_are_left_alone(self):
        """A second question of the same session runs elsewhere, and a third waits."""
        table = SlotTable(2)
        slots = [choice.slot for _ in range(2) if (choice := table.take("a", words(0)))]

        assert sorted(slots) == [0, 1]
        assert table.take("a", words(0)) is None

    def test_nobody_has_no_conversation_to_go_on_with(self):
        """What it leaves is a slot that holds nothing."""
        table = SlotTable(1)
        for _ in range(2):
            choice = table.take("", words(0))
            assert choice
            assert (choice.is_own, choice.victim) == (False, None)
            table.give_back(choice.slot, Held(session="", ids=tuple(words(0))))

    def test_a_longer_state_elsewhere_wins(self):
        """Of two beginnings of a conversation the further one is gone on from."""
        table = SlotTable(2)
        choice = table.take("a", words(0, 60))
        assert choice
        table.give_back(choice.slot, Held(session="a", ids=tuple(words(0, 60))))

        longer = table.take("a", words(0), kept_tokens=90)

        assert longer
        assert (longer.slot, longer.is_own) == (1, False)


class TestSlotReuse:
    def test_the_next_turn_finds_the_last_one(self):
        """Nothing is copied for that."""
        slots = FakeSlots(2)
        slots.answer("a", words(0))

        assert len(slots.answer("a", words(0, 150))) == 100
        assert slots.calls == []

    def test_others_find_what_the_agent_says_and_no_more(self):
        """It is read once; who asks without a session gets it too."""
        slots = FakeSlots(2)

        found = [
            len(slots.answer(session, SYSTEM + words(50), shared=20)) for session in ("a", "b", "")
        ]

        assert found == [0, 20, 20]
        assert slots.calls == ["read 0", "save 0", "restore 1", "save 0", "restore 0"]

    def test_a_conversation_that_lost_its_slot_is_brought_back(self):
        """The one that is in its place is kept in turn."""
        slots = FakeSlots(1)
        slots.answer("a", words(0))
        slots.answer("b", words(500))

        assert len(slots.answer("a", words(0, 120))) == 100
        assert len(slots.answer("b", words(500, 120))) == 100
        assert slots.kept_bytes == 121

    def test_kept_states_stay_within_their_bytes(self):
        """The oldest is computed again."""
        slots = FakeSlots(1, max_bytes=250)
        for session in ("a", "b", "c", "d"):
            slots.answer(session, words(0))

        assert slots.kept_bytes <= 250
        assert slots.answer("a", words(0)) == ()
        assert len(slots.answer("d", words(0))) == 100

    def test_with_a_seed_nothing_is_taken_over(self):
        """Neither from the slot, nor from what is kept, nor of the agent's words."""
        slots = FakeSlots(1)
        ids = SYSTEM + words(50)
        slots.answer("a", ids, shared=20)
        slots.answer("b", ids, shared=20)

        assert slots.answer("b", ids, shared=20, anew=True) == ()
        assert slots.answer("a", ids, shared=20, anew=True) == ()
        assert len(slots.answer("a", ids, shared=20)) == 120

    @pytest.mark.parametrize("broken", ["save", "restore"])
    def test_what_cannot_be_copied_is_computed(self, broken):
        """And an unknown slot is not trusted."""
        slots = FakeSlots(1)
        slots.broken.add(broken)
        ids = SYSTEM + words(50)

        for session in ("a", "b", "a", "c"):
            slots.answer(session, ids, shared=20)

        assert slots.answer("a", ids, shared=20) == ()

    def test_an_answer_that_failed_leaves_nothing_to_go_on_from(self):
        """Nor does one that never began, in another session's slot."""
        slots = FakeSlots(1)
        slots.answer("a", words(0))
        with pytest.raises(MemoryError):
            slots.answer("a", words(0), error=MemoryError())
        assert slots.answer("a", words(0)) == ()

        with slots.reuse.lease("b", words(0), shared_tokens=0, anew=False, is_stopped=lambda: True):
            pass
        assert slots.answer("b", words(0)) == ()

    def test_who_gives_up_while_all_slots_are_at_work_gets_none(self):
        """And holds nothing."""
        slots = FakeSlots(1)
        never = {"shared_tokens": 0, "anew": False}
        with slots.reuse.lease("a", words(0), is_stopped=lambda: False, **never):  # noqa: SIM117 - one in the other
            with slots.reuse.lease("b", words(0), is_stopped=lambda: True, **never) as lease:
                assert lease is None

        assert slots.answer("b", words(0)) == ()


class FakePort:
    """Writes and reads the file it is told, as the server does."""

    def __init__(self) -> None:
        self.answers = True

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        if not self.answers:
            raise GenerationError(reason="no")
        file = Path(SAVE_PATH + content["filename"])
        if path.endswith("save"):
            file.write_bytes(b"states")
        return {"n_saved": 6, "n_restored": len(file.read_bytes())}


@pytest.mark.skipif(not can_keep_states(), reason="no memory files on this system")
class TestVault:
    def test_a_state_comes_back_whole_or_not_at_all(self):
        """A file that was emptied meanwhile is noticed."""
        vault = Vault(FakePort())
        saved = vault.save(0)
        vault.restore(1, saved)
        os.ftruncate(saved.file, 0)

        assert (saved.tokens, saved.size_bytes) == (6, 6)
        with pytest.raises(GenerationError):
            vault.restore(1, saved)

    def test_a_file_is_emptied_and_used_again(self):
        """But not one that an error has touched: a server that is late may still write to it."""
        port = FakePort()
        vault = Vault(port)
        first, second = vault.save(0), vault.save(0)
        vault.drop(first)
        assert os.fstat(first.file).st_size == 0
        assert vault.save(0).file == first.file

        port.answers = False
        vault.drop(second)
        with pytest.raises(GenerationError):
            vault.save(0)
        port.answers = True

        assert vault.save(0).file not in {first.file, second.file}

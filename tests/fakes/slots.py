"""llama.cpp's slots as lists of tokens that know who wrote them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orion.errors import GenerationError
from orion.runtime.llamacpp.reuse import SlotReuse

Token = tuple[int, str]
"""An id, and the session that wrote it; "" for what is everybody's."""


@dataclass(frozen=True)
class FakeSaved:
    """A copy of a slot."""

    content: tuple[Token, ...]
    tokens: int
    size_bytes: int


class FakeSlots:
    """Does what the server and the vault do; each token takes one byte.

    `broken` names what fails: "save" or "restore".
    """

    def __init__(self, num_slots: int, *, max_bytes: int = 1000) -> None:
        self.content: list[tuple[Token, ...]] = [()] * num_slots
        self.kept_bytes = 0
        self.broken: set[str] = set()
        self.calls: list[str] = []
        self.at_work: set[int] = set()
        self.reuse = SlotReuse(num_slots, max_bytes=max_bytes, vault=self, read=self.read)  # type: ignore[arg-type]

    def read(self, slot: int, ids: Sequence[int], is_stopped: Callable[[], bool]) -> bool:
        self.calls.append(f"read {slot}")
        self.content[slot] = tuple((token, "") for token in ids)
        return not is_stopped()

    def save(self, slot: int) -> FakeSaved:
        self.calls.append(f"save {slot}")
        if "save" in self.broken:
            raise GenerationError(reason="no")
        self.kept_bytes += len(self.content[slot])
        tokens = len(self.content[slot])
        return FakeSaved(self.content[slot], tokens=tokens, size_bytes=tokens)

    def restore(self, slot: int, saved: FakeSaved) -> None:
        self.calls.append(f"restore {slot}")
        if "restore" in self.broken:
            raise GenerationError(reason="no")
        self.content[slot] = saved.content

    def drop(self, saved: FakeSaved) -> None:
        self.kept_bytes -= saved.tokens

    def answer(
        self,
        session: str,
        ids: Sequence[int],
        *,
        shared: int = 0,
        anew: bool = False,
        error: Exception | None = None,
    ) -> tuple[Token, ...]:
        """Ask once, to the end or to `error`; the tokens that did not have to be computed."""
        with self.reuse.lease(
            session, ids, shared_tokens=shared, anew=anew, is_stopped=lambda: False
        ) as lease:
            assert lease
            lease.is_used = True
            if error:
                raise error
            found: list[Token] = []
            if lease.is_warm:
                for token, wanted in zip(self.content[lease.slot], ids, strict=False):
                    if token[0] != wanted:
                        break
                    found.append(token)
            own = [(token, session) for token in ids[len(found) :]]
            self.content[lease.slot] = (*found, *own, (-1, session))
            return tuple(found[lease.read_tokens :])

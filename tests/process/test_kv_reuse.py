"""The embedded model in a child: a conversation's next turn, and what others find of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orion.protocol import Delta, Done, Failed, Generate, Loaded, LoadFailed, Stop
from tests.fakes.child import Child, embedded

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

CLASSES = {
    "llamacpp": "orion.runtime.llamacpp:LlamaCppRuntime",
    "transformers": "orion.runtime.transformers:TransformersRuntime",
}
SYSTEM = "You are a helpful assistant. You answer every question truthfully and briefly."
LONG = "The river runs past the old mill and under the stone bridge. " * 20 + "Which river?"
COUNT = "Count from one to one hundred, in words, separated by commas."
SLOTS = 2


class Talk:
    """One conversation of `session` with a worker."""

    def __init__(self, child: Child, session: str, *, system_is_shared: bool = True) -> None:
        self.child = child
        self.session = session
        self.shared_messages = int(system_is_shared)
        self.messages = [["system", SYSTEM]]
        self.text = ""

    def ask(
        self, text: str, *, max_tokens: int = 8, stop_after: int = 0, seed: int | None = None
    ) -> Done:
        """One turn to its end, or stopped after so many pieces of text."""
        self.messages.append(["user", text])
        self.child.say(
            Generate(
                request_id="r1",
                messages=self.messages,
                sampling={"max_tokens": max_tokens, "temperature": 0.0, "seed": seed},
                session=self.session,
                shared_messages=self.shared_messages,
                interval_s=0.0,
            )
        )
        heard = []
        for _ in range(stop_after):
            heard += self.child.until(Delta, Done, Failed)
        if stop_after:
            self.child.say(Stop(request_id="r1"))
        heard += self.child.until(Done, Failed)
        assert isinstance(heard[-1], Done), heard[-1]
        self.text = "".join(frame.text for frame in heard if isinstance(frame, Delta))
        self.messages.append(["assistant", self.text])
        return heard[-1]


@pytest.fixture(scope="module", params=sorted(CLASSES))
def name(request: pytest.FixtureRequest) -> str:
    """Of a runtime."""
    return str(request.param)


@pytest.fixture(scope="module")
def child(name: str, shared_home: Path) -> Iterator[Child]:
    """One worker with two slots and room for some conversations that pause."""
    made = Child(CLASSES[name])
    try:
        load = replace(embedded(shared_home, name, slots=SLOTS), kv_bytes=256 * 1024**2)
        made.say(load)
        assert isinstance(made.until(Loaded, LoadFailed, limit_s=300)[-1], Loaded)
        Talk(made, "first").ask("Hello.")
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def system_tokens(child: Child) -> int:
    """What any two conversations with one agent have in common: its prompt and the template."""
    return Talk(child, "").ask("Hello.").cached_tokens


class TestTurns:
    def test_the_next_turn_reads_only_what_is_new(self, child: Child) -> None:
        """All of the first question comes from memory."""
        talk = Talk(child, "turns")
        first = talk.ask(LONG)
        second = talk.ask("And the bridge?")

        assert second.cached_tokens >= first.prompt_tokens - 1
        assert second.prompt_tokens > second.cached_tokens

    def test_a_stop_in_mid_answer_leaves_what_can_be_gone_on_from(self, child: Child) -> None:
        """And what is gone on from is right: the answer is the one without reuse."""
        talk, plain = Talk(child, "stopped"), Talk(child, "")
        first = talk.ask(COUNT, max_tokens=400, stop_after=3)
        assert first.finish_reason == "cancelled"
        plain.messages = [list(message) for message in talk.messages]

        warm = talk.ask("What is the capital of France?")
        plain.ask("What is the capital of France?")

        assert warm.cached_tokens >= first.prompt_tokens - 1
        assert talk.text == plain.text

    def test_a_seed_takes_nothing_over(self, child: Child) -> None:
        """The same answer again is worth more than a quick one."""
        talk = Talk(child, "seeded")
        talk.ask(LONG)

        assert talk.ask("And the bridge?", seed=1).cached_tokens == 0

    def test_conversations_that_lost_their_slot_are_gone_on_with(self, child: Child) -> None:
        """More of them than slots: none is computed again."""
        talks = [Talk(child, f"crowd {number}") for number in range(SLOTS + 2)]
        asked = [talk.ask(f"{number}. {LONG}").prompt_tokens for number, talk in enumerate(talks)]

        found = [talk.ask("And the bridge?").cached_tokens for talk in talks]

        assert all(now >= before - 1 for now, before in zip(found, asked, strict=True))


class TestOthers:
    def test_another_session_finds_the_agents_words_only(
        self, child: Child, system_tokens: int
    ) -> None:
        """Equal questions tell it nothing; nor is anything kept for who has no session."""
        Talk(child, "mine").ask(LONG)

        others = [Talk(child, session).ask(LONG) for session in ("theirs", "", "", "more")]

        assert 0 < system_tokens < 40
        assert [done.cached_tokens for done in others] == [system_tokens] * 4

    def test_a_system_prompt_somebody_wrote_is_not_everybodys(self, child: Child) -> None:
        """At most what the template itself writes is."""
        for session in ("one", "two", ""):
            done = Talk(child, session, system_is_shared=False).ask("Hello.")

            assert done.cached_tokens <= 3


class TestBeginning:
    def test_what_a_load_was_told_to_begin_with_is_there_for_the_first_question(
        self, shared_home: Path
    ):
        """Whoever asks; the prompt holds nobody's words."""
        child = Child(CLASSES["llamacpp"])
        try:
            load = replace(embedded(shared_home, "llamacpp", slots=1), kv_bytes=64 * 1024**2)
            child.say(replace(load, begin=SYSTEM))
            assert isinstance(child.until(Loaded, LoadFailed, limit_s=300)[-1], Loaded)

            first = Talk(child, "anybody").ask("Hello.")
            second = Talk(child, "somebody").ask("Hello.")
        finally:
            child.end()

        assert first.cached_tokens == second.cached_tokens > 0

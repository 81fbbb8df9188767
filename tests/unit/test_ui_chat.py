"""Sending, stopping, leaving and coming back, without a browser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr

from orion.errors import WorkerDiedError
from orion.types import AUTO, FinishReason
from orion.ui.chat import Chat
from orion.ui.conversation import Conversation, Turn
from orion.ui.readers import Readers
from orion.ui.running import Running
from tests.fakes.engine import Endless, ScriptedEngine, answering, failing, falling_back

SETTINGS = (AUTO, "", "", "", "", "")


class PageEngine(ScriptedEngine):
    """The scripted engine, with a `cancel` that is written down."""

    def __init__(self, script: Any = None) -> None:
        super().__init__(script)
        self.cancelled: list[str] = []

    def cancel(self, request_id: str) -> bool:
        self.cancelled.append(request_id)
        return False

    def stats(self) -> dict[str, Any]:
        return {}


def chat_over(engine: Any) -> Chat:
    return Chat(engine, Readers(limit_s=30.0))


def tab(name: str = "tab", language: str = "en") -> Any:
    """What a handler is told of its caller."""
    return SimpleNamespace(session_hash=name, headers={"accept-language": language})


def begin(chat: Chat, text: object = "Hello?") -> Any:
    return chat.begin(text, tab())[1]


def texts(chat_value: list[dict[str, Any]]) -> list[str]:
    return [message["content"][0]["text"] for message in chat_value]


class TestSending:
    def test_an_answer_arrives_and_is_kept(self) -> None:
        """The last update has the whole answer, and what the browser stores."""
        engine = PageEngine(answering("Hello", ", world"))
        chat = chat_over(engine)

        updates = list(chat.send(begin(chat), None, *SETTINGS, tab()))

        shown, chain, stored = updates[-1]
        assert texts(shown)[:2] == ["Hello?", "Hello, world"]
        assert "routing" in chain
        assert stored["turns"][0]["answer"] == "Hello, world"
        assert [update[2] for update in updates[:-1]] == [None] * (len(updates) - 1)

    def test_the_question_is_shown_before_anything_happens(self) -> None:
        """First update: the question and a line that waits."""
        chat = chat_over(PageEngine(Endless(silent=True)))
        stream = chat.send(begin(chat), None, *SETTINGS, tab())

        shown, _, _ = next(stream)
        stream.close()  # type: ignore[attr-defined]

        assert texts(shown)[0] == "Hello?"
        assert shown[1]["metadata"]["status"] == "pending"

    def test_the_engine_gets_history_and_settings(self) -> None:
        """Empty settings are the agent's own; old turns may be trimmed."""
        engine = PageEngine()
        chat = chat_over(engine)
        stored = Conversation(turns=(Turn(question="a", answer="b"),)).stored()

        list(chat.send(begin(chat), stored, "code-agent", "", "5", "0,5", "", "7", tab()))

        options = engine.calls[0].options
        assert options["history"] == [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
        assert options["system_prompt"] is None
        assert (options["max_tokens"], options["temperature"], options["seed"]) == (5, 0.5, 7)
        assert options["top_p"] is None
        assert options["trim_history"] is True

    def test_what_is_no_number_goes_on_to_be_refused(self) -> None:
        """The engine's message names the setting."""
        engine = PageEngine()
        chat = chat_over(engine)

        list(chat.send(begin(chat), None, AUTO, "", "many", "", "", "", tab()))

        assert engine.calls[0].options["max_tokens"] == "many"

    def test_an_error_stands_in_the_chat_with_what_had_arrived(self) -> None:
        """In the reader's language, with its code."""
        engine = PageEngine(failing(WorkerDiedError(model="m", exit_code=-9), after="Half"))
        chat = chat_over(engine)

        *_, (shown, _, stored) = chat.send(begin(chat), None, *SETTINGS, tab(language="fr"))

        assert texts(shown)[1] == "Half"
        assert "**Erreur** (`worker_died`)" in texts(shown)[2]
        assert (
            texts(shown)[2].splitlines()[1].startswith("> Le texte ci-dessus n'est qu'une partie")
        )
        assert stored["turns"][0]["failure"]["code"] == "worker_died"
        assert stored["turns"][0]["part"] == "Half"
        assert "answer" not in stored["turns"][0]

    def test_a_fallback_is_told_as_it_happens_and_under_the_answer(self) -> None:
        """Who failed, who takes over, and the state between them."""
        chat = chat_over(PageEngine(falling_back("code-agent", "creative-agent", "A poem.")))

        updates = list(chat.send(begin(chat), None, *SETTINGS, tab()))

        chains = [chain for _, chain, _ in updates]
        assert any('class="now fallback"' in chain for chain in chains)
        titles = [shown[-1]["metadata"]["title"] for shown, *_ in updates]
        assert any(title.startswith(r"code\-agent · fallback") for title in titles)
        shown, chain, stored = updates[-1]
        note = shown[-1]["metadata"]["title"]
        assert note.startswith(r"creative\-agent, in place of code\-agent")
        assert "First choice code" in note
        assert chain.count('data-state="loading_agent"') == 2
        assert stored["turns"][0]["answer"] == "A poem."
        assert stored["turns"][0]["facts"]["fallback_from"] == "code-agent"

    def test_nothing_is_sent_for_blank_text(self) -> None:
        """Nor for what is no text at all."""
        engine = PageEngine()
        chat = chat_over(engine)

        for text in ("", "  \n", None, 5):
            assert list(chat.send(begin(chat, text), None, *SETTINGS, tab())) == []
        assert engine.calls == []

    def test_a_tab_asks_one_question_at_a_time(self) -> None:
        """A second Enter leaves the message in its box."""
        chat = chat_over(PageEngine())
        begin(chat)

        box, asked, *_ = chat.begin("And this?", tab())

        assert box == gr.skip()
        assert asked is None

    def test_an_example_is_sent_like_a_message(self) -> None:
        """Clicked, it is asked."""
        chat = chat_over(PageEngine())
        picked: Any = SimpleNamespace(value={"text": "Who are you?"})

        assert chat.begin_example(picked, tab())[1]["text"] == "Who are you?"


class TestStopping:
    def test_stop_cancels_at_once(self) -> None:
        """It does not wait for the stream's next step."""
        engine = PageEngine(Endless())
        chat = chat_over(engine)
        asked = begin(chat)
        stream = chat.send(asked, None, *SETTINGS, tab())
        next(stream)

        chat.stop(tab())

        assert engine.cancelled == [asked["request_id"]]
        stream.close()  # type: ignore[attr-defined]

    def test_a_stop_before_the_engine_knows_the_request_still_counts(self) -> None:
        """Pressed between the click on Send and the first event."""
        engine = PageEngine(answering("a", finish=FinishReason.CANCELLED))
        chat = chat_over(engine)
        asked = begin(chat)
        chat.stop(tab())
        engine.cancelled.clear()

        stream = chat.send(asked, None, *SETTINGS, tab())
        next(stream)
        next(stream)

        assert engine.cancelled == [asked["request_id"]]
        stream.close()  # type: ignore[attr-defined]

    def test_closing_the_stream_cancels_and_closes(self) -> None:
        """As Gradio does when the page is gone."""
        engine = PageEngine(Endless())
        chat = chat_over(engine)
        asked = begin(chat)
        stream = chat.send(asked, None, *SETTINGS, tab())
        next(stream)
        next(stream)

        stream.close()  # type: ignore[attr-defined]

        assert asked["request_id"] in engine.cancelled
        assert engine.closed.is_set()

    def test_another_tab_s_stop_changes_nothing(self) -> None:
        """Stop is for one's own question."""
        engine = PageEngine()
        chat = chat_over(engine)
        begin(chat)

        chat.stop(tab("other"))

        assert engine.cancelled == []

    def test_leaving_cancels_and_frees_the_tab(self) -> None:
        """Nothing is kept of a tab that is gone."""
        engine = PageEngine()
        chat = chat_over(engine)
        asked = begin(chat)

        chat.leave(tab())

        assert engine.cancelled == [asked["request_id"]]
        assert engine.asked == [("purge_session", "tab")]
        assert begin(chat) is not None


class TestSettling:
    def test_the_buttons_come_back_with_the_stored_conversation(self) -> None:
        """After the stream."""
        chat = chat_over(PageEngine())
        stored = Conversation().and_then(Turn(question="q")).stored()

        assert chat.settle(stored, tab())[0] == stored

    def test_a_question_under_way_keeps_its_stop_button(self) -> None:
        """An ignored Enter settles nothing."""
        chat = chat_over(PageEngine())
        begin(chat)

        assert chat.settle(None, tab()) == (gr.skip(),) * 3

    def test_a_new_chat_is_empty_everywhere(self) -> None:
        """On the page and in the browser's store."""
        chat = chat_over(PageEngine())

        shown, stored, _, asked, *_ = chat.clear(tab())

        assert shown == []
        assert stored == {"version": 1}
        assert asked is None


class TestArriving:
    def test_a_page_opens_with_what_the_browser_kept(self) -> None:
        """In the reader's language."""
        chat = chat_over(PageEngine())
        stored = Conversation(turns=(Turn(question="a", answer="b"),)).stored()

        opened, agents, chain, status = chat.arrive(stored, tab(language="fr-CH"))

        assert texts(opened["value"]) == ["a", "b"]
        assert agents["choices"][0] == ("auto : le routeur choisit", "auto")
        assert "vérification" in chain
        assert "aucun modèle en mémoire" in status


class TestRunning:
    def test_an_old_request_s_end_leaves_the_new_one(self) -> None:
        """Ends may come late."""
        running = Running()
        running.began("tab", "r1")
        running.began("tab", "r2")

        running.ended("tab", "r1")

        assert running.of("tab") == "r2"

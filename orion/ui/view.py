"""A conversation as the messages of the chat component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orion.types import AUTO
from orion.ui.markdown import shown
from orion.ui.note import details, failure_text, headline, phase_text, plain, why
from orion.ui.texts import say, state_name

if TYPE_CHECKING:
    from orion.registry import Registry
    from orion.ui.conversation import Conversation, Turn
    from orion.ui.live import Live

ChatMessage = dict[str, Any]


def messages(conversation: Conversation, locale: str) -> list[ChatMessage]:
    """Every turn: question, answer, and under it what failed and the line of facts."""
    return [message for turn in conversation.turns for message in turn_messages(turn, locale)]


def turn_messages(turn: Turn, locale: str) -> list[ChatMessage]:
    """One settled turn."""
    made = [_message("user", shown(turn.question))]
    text = turn.answer or turn.part
    if text:
        made.append(_message("assistant", shown(text)))
    if turn.failure:
        made.append(_message("assistant", failure_text(turn.failure, locale, partial=bool(text))))
    if turn.facts:
        title = f"{plain(headline(turn.facts, locale))}\n{plain(why(turn.facts, locale))}"
        made.append(_note(title, details(turn.facts, locale), status="done"))
    return made


def live_messages(question: ChatMessage, live: Live, locale: str) -> list[ChatMessage]:
    """The turn under way: what came of the answer, and a line with the state."""
    made = [question]
    if live.text:
        made.append(_message("assistant", shown(live.text)))
    return [*made, _note(_live_title(live, locale), "", status="pending")]


def question_message(question: str) -> ChatMessage:
    """The person's side of a turn."""
    return _message("user", shown(question))


def _live_title(live: Live, locale: str) -> str:
    parts = [live.agent] if live.agent else []
    if live.progress:
        parts.append(phase_text(live.progress, locale))
    elif live.states:
        parts.append(state_name(live.states[-1], locale))
    if live.num_tokens:
        parts.append(say("note.tokens", locale, count=live.num_tokens))
    return plain(" · ".join(parts) or "…")


def agent_choices(registry: Registry, locale: str) -> list[tuple[str, str]]:
    """What the agent picker offers, `auto` first."""
    agents = [
        (f"{getattr(agent.name, locale)} ({agent_id})", agent_id)
        for agent_id, agent in registry.agents.items()
    ]
    return [(say("agent.auto", locale), AUTO), *agents]


def examples(registry: Registry, locale: str) -> list[dict[str, str]]:
    """One question per agent for an empty chat, in the reader's language."""
    return [
        {"text": offered[0], "display_text": offered[0]}
        for agent in registry.agents.values()
        if (offered := getattr(agent.examples, locale))
    ]


def _message(role: str, text: str) -> ChatMessage:
    # As a block: the component would take the indentation off a plain string.
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _note(title: str, body: str, *, status: str) -> ChatMessage:
    return {**_message("assistant", body), "metadata": {"title": title, "status": status}}

"""What the page does when someone sends, stops, starts anew or comes back."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr

from orion.clock import Clock, MonotonicClock
from orion.errors import OrionError
from orion.types import AUTO, Event, FinalEvent, new_request_id
from orion.ui import view
from orion.ui.conversation import Conversation, Turn, failed, finished, read_conversation
from orion.ui.live import Live, paced
from orion.ui.note import chain_html, status_html
from orion.ui.texts import error_message, locale_of

if TYPE_CHECKING:
    from orion.engine import Engine

Update = tuple[Any, ...]


@dataclass(slots=True)
class Running:
    """The request under way in each browser tab, so that Stop knows which to cancel."""

    _by_tab: dict[str, str] = field(default_factory=dict)
    _stopped: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def began(self, tab: str, request_id: str) -> None:
        """`request_id` is now what `tab` waits for."""
        with self._lock:
            self._by_tab[tab] = request_id

    def ended(self, tab: str, request_id: str) -> None:
        """Forget it, unless `tab` has begun another."""
        with self._lock:
            self._stopped.discard(request_id)
            if self._by_tab.get(tab) == request_id:
                del self._by_tab[tab]

    def stop(self, tab: str) -> str | None:
        """The request of `tab`, marked as stopped."""
        with self._lock:
            request_id = self._by_tab.get(tab)
            if request_id:
                self._stopped.add(request_id)
            return request_id

    def is_stopped(self, request_id: str) -> bool:
        """Whether Stop was pressed, even before the engine knew the request."""
        return request_id in self._stopped


class Chat:
    """The page's side of the conversation. Stateless but for which tab runs what."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or MonotonicClock()
        self._running = Running()

    def send(
        self,
        text: str,
        stored: object,
        agent: str,
        system_prompt: str | None,
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        seed: int | None,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Ask, and tell the page as it goes.

        Yields:
            New values of message box, chat, stored conversation, chain, send and stop
            buttons.
        """
        text = text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else ""
        if not text.strip():
            yield (gr.skip(),) * 6
            return
        locale = locale_of(request.headers.get("accept-language"))
        before = read_conversation(stored)
        request_id, tab = new_request_id(), str(request.session_hash)
        self._running.began(tab, request_id)
        events = self._stoppable(
            request_id,
            text,
            agent=agent,
            history=before.history(),
            system_prompt=system_prompt or None,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            session=tab,
            trim_history=True,
        )
        try:
            yield from self._tell(events, before.asked(text), locale, chosen=agent != AUTO)
        finally:
            # Closing waits for the step under way; a cancel does not.
            self._engine.cancel(request_id)
            events.close()
            self._running.ended(tab, request_id)

    def _stoppable(self, request_id: str, text: str, **options: Any) -> Generator[Event]:
        """The engine's stream, and a Stop that came before the engine knew the request."""
        events = self._engine.stream(text, **options, request_id=request_id)
        for event in events:
            if self._running.is_stopped(request_id):
                self._engine.cancel(request_id)
            yield event

    def _tell(
        self, events: Iterator[Event], asked: Conversation, locale: str, *, chosen: bool
    ) -> Iterator[Update]:
        settled = view.messages(Conversation(turns=asked.turns[:-1]), locale)
        question = asked.turns[-1].question
        shown_question = view.question_message(question)
        live = Live()
        chat = [*settled, *view.live_messages(shown_question, live, locale)]
        yield (
            "",
            chat,
            gr.skip(),
            chain_html([], None, locale),
            gr.update(visible=False),
            gr.update(visible=True),
        )
        for live in paced(events, self._clock):
            chain = chain_html(live.states, live.progress, locale)
            if live.end is None:
                chat = [*settled, *view.live_messages(shown_question, live, locale)]
                yield gr.skip(), chat, gr.skip(), chain, gr.skip(), gr.skip()
                continue
            turn = _settled(question, live, locale, chosen=chosen)
            chat = [*settled, *view.turn_messages(turn, locale)]
            after = asked.settled(turn).stored()
            yield gr.skip(), chat, after, chain, gr.update(visible=True), gr.update(visible=False)

    def stop(self, request: gr.Request) -> None:
        """Cancel what this tab waits for, at once; its stream then ends by itself."""
        if request_id := self._running.stop(str(request.session_hash)):
            self._engine.cancel(request_id)

    def leave(self, request: gr.Request) -> None:
        """The tab is gone."""
        self.stop(request)

    def clear(self, request: gr.Request) -> Update:
        """An empty conversation: chat, stored conversation, chain, send and stop buttons."""
        self.stop(request)
        chain = chain_html([], None, locale_of(request.headers.get("accept-language")))
        shown, hidden = gr.update(visible=True), gr.update(visible=False)
        return [], Conversation().stored(), chain, shown, hidden

    def arrive(self, stored: object, request: gr.Request) -> Update:
        """What a page shows when it opens: chat with examples, agent picker, chain, status."""
        locale = locale_of(request.headers.get("accept-language"))
        registry = self._engine.registry
        return (
            gr.update(
                value=view.messages(read_conversation(stored), locale),
                examples=view.examples(registry, locale),
            ),
            gr.update(choices=view.agent_choices(registry, locale)),
            chain_html([], None, locale),
            self.status(request),
        )

    def status(self, request: gr.Request) -> str:
        """The line at the top."""
        locale = locale_of(request.headers.get("accept-language"))
        try:
            return status_html(self._engine.health(), self._engine.stats(), locale)
        except OrionError:
            return status_html({"status": "down"}, {}, locale)


def _settled(question: str, live: Live, locale: str, *, chosen: bool) -> Turn:
    if isinstance(live.end, FinalEvent):
        return finished(question, live.end, chosen=chosen)
    assert live.end is not None
    return failed(question, live.end, error_message(live.end.error, locale))

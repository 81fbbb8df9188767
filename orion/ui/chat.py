"""What the page does when someone sends, stops, starts anew or comes back."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from orion.clock import Clock, MonotonicClock
from orion.errors import SlowReaderError
from orion.types import AUTO, Event, FinalEvent, new_request_id
from orion.ui import view
from orion.ui.conversation import (
    Conversation,
    Turn,
    abridged,
    failed,
    finished,
    read_conversation,
)
from orion.ui.live import Live, paced
from orion.ui.note import chain_html, status_html
from orion.ui.readers import Readers, attended
from orion.ui.running import Running
from orion.ui.texts import error_message, locale_of

if TYPE_CHECKING:
    from orion.engine import Engine

Update = tuple[Any, ...]
Asked = dict[str, str]


class Chat:
    """The page's side of the conversation. It keeps nothing but which tab runs what.

    A question takes three events: `begin` (message box and buttons), `send` (the stream:
    only plain values of few components, since Gradio builds a component anew for every
    update of a property) and `settle` (what the browser keeps).
    """

    def __init__(self, engine: Engine, readers: Readers, clock: Clock | None = None) -> None:
        self._engine = engine
        self._readers = readers
        self._clock = clock or MonotonicClock()
        self._running = Running()

    def begin(self, text: object, request: gr.Request) -> Update:
        """Take a message: box, question, send and stop buttons. One at a time per tab."""
        text = text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else ""
        if not text.strip() or self._running.of(_tab(request)):
            return gr.skip(), None, gr.skip(), gr.skip()
        asked = {"text": text, "request_id": new_request_id()}
        self._running.began(_tab(request), asked["request_id"])
        return "", asked, gr.update(visible=False), gr.update(visible=True)

    def begin_example(self, picked: gr.SelectData, request: gr.Request) -> Update:
        """Take an example someone clicked; as `begin`."""
        return self.begin(str(picked.value["text"]), request)

    def send(
        self,
        asked: Asked | None,
        stored: object,
        agent: str,
        system_prompt: str | None,
        max_tokens: str,
        temperature: str,
        top_p: str,
        seed: str,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Ask, and tell the page as it goes: chat, chain, settled conversation."""
        if not asked:
            return
        request_id, tab = asked["request_id"], _tab(request)
        before = read_conversation(stored)
        events = self._stoppable(
            request_id,
            asked["text"],
            agent=agent,
            history=before.history(),
            system_prompt=system_prompt or None,
            max_tokens=_number(max_tokens),
            temperature=_number(temperature),
            top_p=_number(top_p),
            seed=_number(seed),
            session=tab,
            trim_history=True,
        )
        try:
            for update in self._tell(
                attended(events, self._readers.here()),
                before,
                asked["text"],
                _locale(request),
                chosen=agent != AUTO,
            ):
                if self._running.of(tab) != request_id:
                    return  # a new chat has begun, and this one must not come back into it
                yield update
        except SlowReaderError:
            return
        finally:
            # Closing waits for the step under way; a cancel does not.
            self._engine.cancel(request_id)
            events.close()
            self._running.ended(tab, request_id)

    def settle(self, settled: dict[str, Any] | None, request: gr.Request) -> Update:
        """After the stream: stored conversation, send and stop buttons."""
        if self._running.of(_tab(request)):
            return gr.skip(), gr.skip(), gr.skip()
        return settled or gr.skip(), gr.update(visible=True), gr.update(visible=False)

    def _stoppable(
        self, request_id: str, text: str, **options: Any
    ) -> Generator[Event, None, None]:
        """The engine's stream, and a Stop that came before the engine knew the request."""
        for event in self._engine.stream(text, **options, request_id=request_id):
            if self._running.is_stopped(request_id):
                self._engine.cancel(request_id)
            yield event

    def _tell(
        self,
        events: Iterator[Event],
        before: Conversation,
        question: str,
        locale: str,
        *,
        chosen: bool,
    ) -> Iterator[Update]:
        earlier = view.messages(before, locale)
        said = view.question_message(abridged(question))
        yield [*earlier, *view.live_messages(said, Live(), locale)], _chain(Live(), locale), None
        for live in paced(events, self._clock):
            if live.end is None:
                chat = [*earlier, *view.live_messages(said, live, locale)]
                yield chat, _chain(live, locale), None
                continue
            turn = _settled(question, live, locale, chosen=chosen)
            chat = [*earlier, *view.turn_messages(turn, locale)]
            yield chat, _chain(live, locale), before.and_then(turn).stored()

    def stop(self, request: gr.Request) -> None:
        """Cancel what this tab waits for, at once; its stream then ends by itself."""
        if request_id := self._running.stop(_tab(request)):
            self._engine.cancel(request_id)

    def leave(self, request: gr.Request) -> None:
        """The tab is gone, and with it what is kept for its session."""
        self._end(_tab(request))
        self._engine.purge_session(_tab(request))

    def clear(self, request: gr.Request) -> Update:
        """An empty conversation: chat, stored one, chain, question, send and stop buttons."""
        self._end(_tab(request))
        chain = _chain(Live(), _locale(request))
        buttons = gr.update(visible=True), gr.update(visible=False)
        return [], Conversation().stored(), chain, None, *buttons

    def arrive(self, stored: object, request: gr.Request) -> Update:
        """What a page shows when it opens: chat with examples, agent picker, chain, status."""
        locale = _locale(request)
        registry = self._engine.registry
        return (
            gr.update(
                value=view.messages(read_conversation(stored), locale),
                examples=view.examples(registry, locale),
            ),
            gr.update(choices=view.agent_choices(registry, locale)),
            _chain(Live(), locale),
            self.status(request),
        )

    def _end(self, tab: str) -> None:
        if request_id := self._running.of(tab):
            self._running.ended(tab, request_id)
            self._engine.cancel(request_id)

    def status(self, request: gr.Request) -> str:
        """The line at the top."""
        return status_html(self._engine.health(), self._engine.stats(), _locale(request))


def _tab(request: gr.Request) -> str:
    return str(request.session_hash)


def _locale(request: gr.Request) -> str:
    return locale_of(request.headers.get("accept-language"))


def _chain(live: Live, locale: str) -> str:
    return chain_html(live.states, live.progress, locale)


def _number(text: str) -> int | float | str | None:
    """What was typed as a number; empty is None, and what is none goes on to be refused."""
    bare = text.strip().replace(",", ".")
    for kind in (int, float):
        try:
            return kind(bare) if bare else None
        except ValueError:
            continue
    return text


def _settled(question: str, live: Live, locale: str, *, chosen: bool) -> Turn:
    if isinstance(live.end, FinalEvent):
        return finished(question, live.end, chosen=chosen)
    assert live.end is not None
    return failed(question, live.end, error_message(live.end.error, locale))

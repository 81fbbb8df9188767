"""The endpoints for `gradio_client`: typed by their hints, documented by their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.context import LocalContext

from orion.clock import MonotonicClock
from orion.errors import OrionError
from orion.types import AUTO, ErrorEvent, new_request_id
from orion.ui.admin import AdminEndpoints, checked_text
from orion.ui.live import paced
from orion.ui.readers import Readers, attended

if TYPE_CHECKING:
    from orion.engine import Engine
    from orion.types import Event


def publish(engine: Engine, readers: Readers) -> None:
    """Declare every endpoint; call inside the page's `Blocks`."""
    made, admin = Endpoints(engine, readers), AdminEndpoints(engine)
    record, records = dict[str, Any], list[dict[str, Any]]
    for fn, returns, queued in (
        (made.chat, str, True),
        (made.chat_events, record, True),
        (made.cancel, record, False),
        (made.route, record, False),
        (made.agents, records, False),
        (made.status, record, False),
        (made.health, record, False),
        (admin.load, record, True),
        (admin.unload, record, True),
        (admin.reload, record, False),
        (admin.reset_breakers, record, False),
        (admin.force_open, record, False),
        (admin.inject_fault, record, False),
        (admin.faults, records, False),
        (admin.clear_faults, record, False),
    ):
        gr.api(
            _published(fn, returns),
            api_name=fn.__name__,
            api_description=inspect.getdoc(fn),
            queue=queued,
        )


class Endpoints:
    """What each endpoint does; every argument comes from outside and is checked by the engine."""

    def __init__(self, engine: Engine, readers: Readers) -> None:
        self._engine = engine
        self._readers = readers
        self._clock = MonotonicClock()

    def chat(
        self,
        message: str,
        agent: str = AUTO,
        history: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        session: str | None = None,
    ) -> Iterator[str]:
        """Ask, and get the answer as a stream of its text so far.

        Each value contains the one before; while the answer is awaited the same text may
        come again. The last value is the whole answer. An error names its code in brackets.
        An answer that nobody fetches is given up.

        Args:
            message: What to answer.
            agent: "auto" lets the router choose; or an agent id, or a model id.
            history: Earlier turns, oldest first: {"role": "user" | "assistant", "content": "..."}.
            system_prompt: Replaces the agent's own.
            max_tokens: Longest answer; the agent's default where not given.
            temperature: 0 (always the likeliest token) to 2.
            top_p: Above 0, up to 1.
            seed: The same seed with the same settings gives the same answer.
            session: Any text that is yours; answers are only ever reused within it.

        Returns:
            The text so far.
        """
        events = self._stream(
            message, agent, history, system_prompt, max_tokens, temperature, top_p, seed, session
        )
        try:
            for live in paced(events, self._clock):
                if isinstance(live.end, ErrorEvent):
                    raise live.end.error
                yield live.end.answer.text if live.end else live.text
        finally:
            events.close()

    def chat_events(
        self,
        message: str,
        agent: str = AUTO,
        history: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        session: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Ask, and get everything that happens as a stream of events.

        Every event has "type" and "request_id". Types: "state", "route", "progress" (at least
        every quarter of a second while waiting), "delta" (more text), and last either "final"
        (the answer with route, timings and usage) or "error" (code, message, partial text).
        Where an agent fails before it said anything, the state "fallback" and a second "route"
        tell which one takes over. A stream that nobody fetches is given up.

        Args:
            message: What to answer.
            agent: "auto" lets the router choose; or an agent id, or a model id.
            history: Earlier turns, oldest first: {"role": "user" | "assistant", "content": "..."}.
            system_prompt: Replaces the agent's own.
            max_tokens: Longest answer; the agent's default where not given.
            temperature: 0 (always the likeliest token) to 2.
            top_p: Above 0, up to 1.
            seed: The same seed with the same settings gives the same answer.
            session: Any text that is yours; answers are only ever reused within it.

        Returns:
            One event.
        """
        events = self._stream(
            message, agent, history, system_prompt, max_tokens, temperature, top_p, seed, session
        )
        try:
            for event in events:
                yield event.as_dict()
        finally:
            events.close()

    def cancel(self, request_id: str) -> dict[str, Any]:
        """Stop a request; its stream ends with what it has.

        Args:
            request_id: As the events of /chat_events carry it.

        Returns:
            {"cancelled": true} when it was running.
        """
        return {"cancelled": self._engine.cancel(checked_text("request_id", request_id))}

    def route(self, message: str, history: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Which agent would answer, how surely and why; nothing is generated.

        Args:
            message: What would be asked.
            history: Earlier turns, as for /chat.

        Returns:
            "agent", "confidence", "scores", "abstained", "reason", "router", "latency_ms".
        """
        return self._engine.route(message, history).as_dict()

    def agents(self) -> list[dict[str, Any]]:
        """The agents: id, name and description in English and French, model, examples.

        Returns:
            One entry per agent.
        """
        return self._engine.agents()

    def status(self) -> dict[str, Any]:
        """What runs now: workers with their models, queue, requests, and the health.

        Returns:
            The engine's figures, and "health" as /health gives it.
        """
        return {**self._engine.stats(), "health": self._engine.health()}

    def health(self) -> dict[str, Any]:
        """Whether questions can be answered now.

        Returns:
            "status", "ready" and "reasons".
        """
        return self._engine.health()

    def _stream(self, message: str, *options: Any) -> Generator[Event]:
        names = (
            "agent", "history", "system_prompt", "max_tokens", "temperature", "top_p", "seed",
            "session",
        )  # fmt: skip
        given = dict(zip(names, options, strict=True))
        # A session speaks for itself; without one, whoever is connected asks.
        client = "" if given["session"] else _caller()
        events = self._engine.stream(message, **given, client=client, request_id=new_request_id())
        return attended(events, self._readers.here())


def _caller() -> str:
    """Who made the call that runs in this thread: its Gradio session, or its address."""
    request = LocalContext.request.get(None)
    session_hash = getattr(request, "session_hash", None)
    if session_hash:
        return f"gradio:{session_hash}"
    peer = getattr(request, "client", None)
    return f"address:{peer.host}" if peer else ""


def _published(fn: Callable[..., Any], returns: Any) -> Callable[..., Any]:
    """`fn` as Gradio reads it: errors made public, and the type of one yielded value."""

    def streams(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _public_errors():
            yield from fn(*args, **kwargs)

    def answers(*args: Any, **kwargs: Any) -> Any:
        with _public_errors():
            return fn(*args, **kwargs)

    endpoint = wraps(fn)(streams if inspect.isgeneratorfunction(fn) else answers)
    signature = inspect.signature(fn).replace(return_annotation=returns)
    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    return endpoint


@contextmanager
def _public_errors() -> Iterator[None]:
    try:
        yield
    except OrionError as error:
        message = f"{error.public_message} [{error.code}]"
        raise gr.Error(message, title=error.code, duration=None, print_exception=False) from error

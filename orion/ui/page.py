"""The page: what stands where, and which event calls what."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.middleware import Middleware

from orion.types import AUTO
from orion.ui import view
from orion.ui.chat import Chat
from orion.ui.conversation import STORAGE_KEY, STORAGE_SECRET, Conversation
from orion.ui.drafts import Drafts
from orion.ui.endpoints import publish
from orion.ui.markdown import MATH_DELIMITERS
from orion.ui.note import chain_html
from orion.ui.options import translations
from orion.ui.readers import Readers, ReaderWatch
from orion.ui.texts import DEFAULT_LOCALE

if TYPE_CHECKING:
    from orion.engine import Engine

STATUS_PERIOD_S = 3.0
CACHE_SWEEP_S = 3600
QUEUE_LOOK_S = 0.01
PROGRESS_LOOK_S = 0.5
CHAT_HEIGHT = "var(--chat-height)"
HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}


class Page(gr.Blocks):
    """Blocks whose queue sleeps when there is nothing to do, and that keep inputs to themselves.

    `readers` knows which of their results are being fetched.
    """

    def __init__(self, *, readers: Readers, **options: Any) -> None:
        super().__init__(**options)
        self.readers = readers

    def launch(self, *args: Any, app_kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """As `Blocks.launch`, with the connections watched."""
        given = app_kwargs or {}
        watch = Middleware(ReaderWatch, readers=self.readers)
        watched = {**given, "middleware": [*given.get("middleware", ()), watch]}
        return super().launch(*args, app_kwargs=watched, **options)

    def close(self, verbose: bool = False, *, limit_s: float | None = None) -> None:
        """As `Blocks.close`; connections that do not end within `limit_s` are cut."""
        if limit_s is not None and self.is_running and self.server:
            self.server.config.timeout_graceful_shutdown = limit_s
            # It would report each connection that is cut, with a traceback.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().close(verbose=verbose)

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> Any:
        """As Gradio's; data of the wrong shape is a refusal with a code.

        Gradio would print what it received, a person's words, and tell the caller nothing.
        """
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error:
            raise
        except Exception:  # noqa: BLE001 - whatever the shape broke
            message = "`data` does not have the shape of this endpoint's inputs. [invalid_query]"
            raise gr.Error(message, print_exception=False) from None

    def queue(self, *args: Any, **kwargs: Any) -> Page:
        """As `Blocks.queue`, without a thousand wake-ups and a table of statistics."""
        super().queue(*args, **kwargs)
        # Looking every millisecond takes 5 % of a core from the model, day and night.
        self._queue.sleep_when_free = QUEUE_LOOK_S
        self._queue.progress_update_sleep_when_free = PROGRESS_LOOK_S
        # After each event a data frame over the last ten thousand, for a page that is off.
        self._queue.ANALYTICS_MAX_EVENTS = 1
        self._queue.ANAYLTICS_CACHE_FREQUENCY = sys.maxsize
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The components that events touch."""

    status: Any
    chat: Any
    chain: Any
    box: Any
    hint: Any
    draft: Any
    send: Any
    stop: Any
    fresh: Any
    agent: Any
    settings: tuple[Any, ...]
    stored: Any
    timer: Any


def build_page(engine: Engine) -> Page:
    """The page and the endpoints of `engine`; ready for `queue` and `launch`."""
    readers = Readers(limit_s=engine.settings.deadline.reader_s)
    page = Page(
        readers=readers,
        title="ORION",
        analytics_enabled=False,
        delete_cache=(CACHE_SWEEP_S, CACHE_SWEEP_S),
    )
    with page:
        parts = _layout(engine)
        # First: of two events with one name, the first keeps it.
        publish(engine, readers)
        _wire(page, parts, Chat(engine, readers), Drafts(engine))
    return page


def _layout(engine: Engine) -> Parts:
    words = translations()
    stored = gr.BrowserState(
        Conversation().stored(), storage_key=STORAGE_KEY, secret=STORAGE_SECRET
    )
    timer = gr.Timer(STATUS_PERIOD_S)
    with gr.Row(elem_id="top"):
        gr.HTML("<h1>ORION</h1>", elem_id="brand", padding=False)
        status = gr.HTML(elem_id="status", padding=False)
    chat = gr.Chatbot(
        elem_id="chat",
        label=words("chat.label"),
        show_label=False,
        placeholder=words("chat.empty"),
        examples=view.examples(engine.registry, DEFAULT_LOCALE),
        height=CHAT_HEIGHT,
        sanitize_html=True,
        allow_tags=False,
        latex_delimiters=MATH_DELIMITERS,
        buttons=["copy"],
        feedback_options=None,
        layout="bubble",
    )
    chain = gr.HTML(chain_html([], None, DEFAULT_LOCALE), elem_id="chain", padding=False)
    with gr.Row(elem_id="ask", equal_height=True):
        box = gr.Textbox(
            elem_id="box",
            label=words("input.label"),
            show_label=False,
            container=False,
            placeholder=words("input.placeholder"),
            lines=1,
            max_lines=8,
            scale=1,
            min_width=0,
            autofocus=True,
        )
        send = gr.Button(
            words("button.send"),
            variant="primary",
            size="md",
            scale=0,
            min_width=96,
            elem_id="send",
        )
        stop = gr.Button(
            words("button.stop"),
            variant="stop",
            size="md",
            scale=0,
            min_width=96,
            elem_id="stop",
            visible=False,
        )
    hint = gr.HTML("", elem_id="hint", padding=False)
    draft = gr.Textbox("", elem_id="draft", show_label=False, visible="hidden")
    with gr.Row(elem_id="steer", equal_height=True):
        agent = gr.Dropdown(
            view.agent_choices(engine.registry, DEFAULT_LOCALE),
            value=AUTO,
            label=words("agent.label"),
            show_label=False,
            container=False,
            scale=1,
            min_width=0,
            elem_id="agent",
        )
        fresh = gr.Button(words("button.new"), size="md", scale=0, min_width=0, elem_id="new")
    settings = _settings(words)
    return Parts(
        status=status,
        chat=chat,
        chain=chain,
        box=box,
        hint=hint,
        draft=draft,
        send=send,
        stop=stop,
        fresh=fresh,
        agent=agent,
        settings=settings,
        stored=stored,
        timer=timer,
    )


def _settings(words: gr.I18n) -> tuple[Any, ...]:
    """System prompt, max tokens, temperature, top-p, seed; empty means the agent's own."""

    def number(name: str) -> Any:
        # No gr.Number: in the browser an empty one becomes 0.
        return gr.Textbox(
            "",
            label=words(f"settings.{name}"),
            info=words(f"settings.{name}.info"),
            placeholder=words("settings.default"),
            max_lines=1,
            min_width=130,
            elem_id=name.replace("_", "-"),
        )

    with gr.Accordion(words("settings.label"), open=False, elem_id="settings"):
        system_prompt = gr.Textbox(
            "",
            label=words("settings.system_prompt"),
            info=words("settings.system_prompt.info"),
            lines=2,
            max_lines=8,
            elem_id="system-prompt",
        )
        with gr.Row():
            return (
                system_prompt,
                number("max_tokens"),
                number("temperature"),
                number("top_p"),
                number("seed"),
            )


def _wire(page: gr.Blocks, parts: Parts, chat: Chat, drafts: Drafts) -> None:
    asked, settled = gr.State(None), gr.State(None)
    buttons = [parts.send, parts.stop]
    began = [parts.box, asked, *buttons]
    kept = [parts.stored, *buttons]
    aside: dict[str, Any] = {**HIDDEN, "queue": False}
    asking = [asked, parts.stored, parts.agent, *parts.settings]
    streams = []
    for start in (
        gr.on([parts.box.submit, parts.send.click], chat.begin, parts.box, began, **aside),
        parts.chat.example_select(chat.begin_example, None, began, **aside),
    ):
        stream = start.then(chat.send, asking, [parts.chat, parts.chain, settled], **HIDDEN)
        stream.then(chat.settle, settled, kept, **aside)
        streams.append(stream)
    parts.stop.click(chat.stop, **aside)
    gr.on(
        [parts.fresh.click, parts.chat.clear],
        chat.clear,
        None,
        [parts.chat, parts.stored, parts.chain, asked, *buttons],
        cancels=streams,
        **aside,
    )
    # At most one at a time, and the latest of those that came meanwhile; see draft.js.
    typed = [parts.draft, parts.agent, asked]
    parts.draft.change(drafts.hint, typed, parts.hint, trigger_mode="always_last", **aside)
    opening = [parts.chat, parts.agent, parts.chain, parts.status]
    page.load(chat.arrive, parts.stored, opening, **aside)
    parts.timer.tick(chat.status, None, parts.status, **aside)
    page.unload(chat.leave)

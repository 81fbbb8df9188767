"""What the page is launched with: no calls home, no foreign host, no shared files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from orion.ui.texts import CATALOGUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orion.engine import Engine
    from orion.settings import Settings

MAX_UPLOAD = "1mb"
SESSIONS = 200
SPARE_THREADS = 24
"""For status lines, probes and what waits to be told that the engine is full."""
# Models write Markdown: whatever slips through may not make the browser speak to other hosts.
POLICY = (
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; frame-src 'none'"
)
_HEAD = f"""
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="color-scheme" content="light dark">
<script>document.documentElement.lang = (navigator.language || "en").split("-")[0];</script>
"""


def head(settings: Settings) -> str:
    """What stands in the page's head; without drafts nothing listens to what is typed."""
    if not (settings.prediction.enabled and settings.prediction.drafts):
        return _HEAD
    script = Path(__file__).with_name("draft.js").read_text(encoding="utf-8")
    return f"{_HEAD}<script>\n{script}</script>\n"


@cache
def translations() -> gr.I18n:
    """Both catalogues; the browser picks by its language."""
    return gr.I18n(**{locale: dict(texts) for locale, texts in CATALOGUES.items()})


def theme() -> gr.Theme:
    """System fonts, so that none is fetched; faint text that can still be read."""
    return gr.themes.Default(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    ).set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300")


def places(settings: Settings) -> int:
    """Requests the engine holds at once, running or waiting."""
    return settings.workers * settings.worker.slots + settings.queue_max


def queue_options(engine: Engine) -> dict[str, Any]:
    """For `Blocks.queue`: the engine's own queue decides, Gradio's only passes on."""
    return {
        "default_concurrency_limit": None,
        "max_size": 2 * places(engine.settings) + SPARE_THREADS,
        "api_open": False,
    }


def launch_options(engine: Engine, routes: Sequence[Any]) -> dict[str, Any]:
    """For `Blocks.launch`, all but the address; `routes` are served beside the page."""
    return {
        "app_kwargs": {"routes": list(routes), "docs_url": None, "redoc_url": None},
        "theme": theme(),
        "css": Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
        "head": head(engine.settings),
        "i18n": translations(),
        "footer_links": ["api"],
        "max_threads": places(engine.settings) + SPARE_THREADS,
        "state_session_capacity": SESSIONS,
        "max_file_size": MAX_UPLOAD,
        "root_path": engine.settings.root_path or None,
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "share": False,
        "pwa": False,
        "ssr_mode": False,
        "mcp_server": False,
        "inline": False,
        "inbrowser": False,
        "quiet": True,
        "prevent_thread_lock": True,
    }

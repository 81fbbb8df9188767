"""What the page is launched with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orion.ui import build_page, launch_options, queue_options
from orion.ui import options as page_options
from orion.ui.options import theme
from tests.fakes.engine import ScriptedEngine

CONTRACT = (
    "chat",
    "chat_events",
    "route",
    "agents",
    "status",
    "health",
    "cancel",
    "load",
    "unload",
    "reload",
    "reset_breakers",
    "force_open",
    "inject_fault",
    "faults",
    "clear_faults",
)


@pytest.fixture
def engine() -> Any:
    return ScriptedEngine(workers=2, queue_max=10)


class TestLaunchOptions:
    def test_call_nobody_and_tell_nothing(self, engine: Any) -> None:
        """No analytics, no monitoring, no history of runs, no stack traces, no share link."""
        options = launch_options(engine, [])

        for name in ("show_error", "run_history", "enable_monitoring", "share", "mcp_server"):
            assert options[name] is False
        assert "allowed_paths" not in options
        assert options["max_file_size"]

    def test_carry_the_routes(self, engine: Any) -> None:
        """They are served beside the page."""
        routes = [object()]

        assert launch_options(engine, routes)["app_kwargs"]["routes"] == routes

    def test_fetch_no_font(self) -> None:
        """Every font is the system's."""
        assert theme()._stylesheets == []
        assert "http" not in json.dumps(theme()._font_css)

    def test_listen_to_drafts_only_where_they_are_used(self, engine: Any) -> None:
        """Otherwise nothing in the page knows what is being typed."""
        deaf: Any = ScriptedEngine(prediction={"drafts": False})

        assert "#draft" in launch_options(engine, [])["head"]
        assert "#draft" not in launch_options(deaf, [])["head"]
        assert "</script" not in Path(page_options.__file__).with_name("draft.js").read_text()

    def test_leave_the_queue_to_the_engine(self, engine: Any) -> None:
        """More threads and more room than the engine's own queue, so that it refuses first."""
        held = 2 * engine.settings.worker.slots + 10

        assert launch_options(engine, [])["max_threads"] > held
        assert queue_options(engine)["max_size"] > held
        assert queue_options(engine)["default_concurrency_limit"] is None


class TestPage:
    def test_sanitises_what_models_write(self, engine: Any) -> None:
        """And keeps Gradio's own tag eating off."""
        page = build_page(engine)
        chat = next(block for block in page.blocks.values() if block.get_block_name() == "chatbot")

        assert chat.sanitize_html is True
        assert chat.allow_tags is False
        assert page.analytics_enabled is False

    def test_publishes_the_contract_and_nothing_else(self, engine: Any) -> None:
        """The page's own events are private."""
        page = build_page(engine).queue(**queue_options(engine))
        public = {fn.api_name for fn in page.fns.values() if fn.api_visibility == "public"}

        assert public == set(CONTRACT)

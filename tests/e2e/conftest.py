"""The page served for real, a client for its endpoints, and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, Page, sync_playwright

from orion.api import HttpApi
from orion.build import build_engine
from orion.engine import Engine
from orion.ui import build_page, launch_options, queue_options
from tests.conftest import FAKE_RUNTIME, make_settings

ADMIN_TOKEN = "secret-admin-token"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Serve = Callable[[Any], str]


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The fake runtime in threads, shared: starting and stopping a page takes two seconds."""
    settings = make_settings(
        tmp_path_factory.mktemp("shared"),
        executor="inprocess",
        runtime_class=FAKE_RUNTIME,
        admin_token=ADMIN_TOKEN,
        worker={"spares": 0},
    )
    engine = build_engine(settings)
    yield engine
    engine.shutdown(grace_s=0.0)


@pytest.fixture(scope="session")
def shared_url(shared_engine: Engine, serve: Serve) -> str:
    """The page of `shared_engine`."""
    return serve(shared_engine)


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Serves engines, each on a port of its own; gives the address."""
    pages: list[Any] = []

    def start(engine: Any) -> str:
        page = build_page(engine)
        page.queue(**queue_options(engine))
        api = HttpApi(engine)
        options = launch_options(engine, api.routes())
        options["app_kwargs"]["middleware"] = api.middleware()
        _, url, _ = page.launch(**options, server_name="127.0.0.1")
        pages.append(page)
        return str(url).rstrip("/")

    yield start
    for page in pages:
        page.close(verbose=False)


@pytest.fixture(scope="session")
def client() -> Iterator[Callable[[str], Client]]:
    """Makes clients and closes them."""
    made: list[Client] = []

    def connect(url: str) -> Client:
        made.append(Client(url, verbose=False))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture(scope="module")  # its event loop would be in the way of other modules' own
def browser() -> Iterator[Browser]:
    """Chromium; without one these tests are skipped, or fail with ORION_REQUIRE_BROWSER=1."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        message = f"no browser found (looked for {', '.join(BROWSERS)})"
        if os.environ.get("ORION_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


class Tab:
    """One browser tab on the page, with everything it complained about or asked for."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._context = browser.new_context(**context)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#box textarea")
        self.page.wait_for_selector("#status .status")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def ask(self, text: str) -> None:
        """Type and press Enter."""
        self.page.fill("#box textarea", text)
        self.page.press("#box textarea", "Enter")

    def set(self, name: str, value: str) -> None:
        """Fill in one of the settings."""
        if not self.page.is_visible(f"#{name}"):
            self.page.click("#settings button")
        field = f"#{name} :is(input, textarea)"
        for _ in range(20):  # a field that is just being mounted takes its first value back
            self.page.fill(field, value)
            self.page.press(field, "Tab")
            self.page.wait_for_timeout(150)
            if self.page.input_value(field) == value:
                return
        msg = f"{name} does not keep {value!r}"
        raise AssertionError(msg)

    def answered(self, count: int = 1) -> None:
        """Wait until that many answers are complete."""
        self.page.wait_for_function(
            "count => document.querySelectorAll('#chat .thought-group [aria-busy=false]').length"
            " === count && document.querySelector('#send')",
            arg=count,
            timeout=60_000,
        )

    def bubbles(self, role: str = "bot") -> list[str]:
        """What the chat shows of one side, oldest first."""
        found = self.page.query_selector_all("#chat .message-content")
        return [
            item.inner_text()
            for item in found
            if item.evaluate("(node, role) => !!node.closest(`[data-testid=${role}]`)", role)
        ]

    def notes(self) -> list[str]:
        """The lines under the answers."""
        return [
            item.inner_text()
            for item in self.page.query_selector_all("#chat .thought-group .title")
        ]

    def foreign(self) -> list[str]:
        """Requests to other hosts."""
        own = (self.url, "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]

    def close(self) -> None:
        """End the tab and its storage."""
        self._context.close()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, each with a storage of its own."""
    tabs: list[Tab] = []

    def start(url: str, **context: Any) -> Tab:
        tabs.append(Tab(browser, url, **{"locale": "en-US", **context}))
        return tabs[-1]

    yield start
    for tab in tabs:
        tab.close()

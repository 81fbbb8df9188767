"""The app: the page, its endpoints and the HTTP routes on one port, until a signal."""

from __future__ import annotations

import errno
import gc
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orion.build import build_engine
from orion.errors import CannotListenError, OrionError, PortTakenError
from orion.settings import Settings, gradio_files_in, quiet_environment, space_environment

if TYPE_CHECKING:
    from types import FrameType

    from orion.engine import Engine

_FLUSH_LIMIT_S = 0.4
_FLUSH_S = 0.1
_CLOSE_LIMIT_S = 0.2
_COLLECT_EVERY = 50_000
_CLOSED_PATHS = ("/gradio_api/upload",)  # the page takes no files
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a Space the proxy is in front


def serve(settings: Settings | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, then end every answer and every child; returns 0.

    SIGHUP reads `models.json` again.

    Raises:
        RegistryError: `models.json` is refused.
        PortTakenError: Another program listens there.
        CannotListenError: There is no such address here, or it may not be used.
    """
    quiet_environment()
    settings = _on_a_space(settings or Settings())
    with TemporaryDirectory(prefix="orion-", ignore_cleanup_errors=True) as scratch:
        gradio_files_in(Path(scratch))
        signals = _Signals(scratch)
        port = _free_port(settings.host, settings.port)
        engine = build_engine(settings)
        try:
            if settings.preload:
                engine.preload()  # its process starts while Gradio is being imported here
            _serve(engine, settings.host, port, signals)
        finally:
            engine.shutdown()
    gc.freeze()  # else the interpreter walks all of Gradio once more: a third of a second
    return 0


def _serve(engine: Engine, host: str, port: int, signals: _Signals) -> None:
    from orion.api import HttpApi
    from orion.ui import build_page, launch_options, queue_options

    page = build_page(engine)
    page.queue(**queue_options(engine))
    api = HttpApi(engine)
    options = launch_options(engine, api.routes())
    options["app_kwargs"]["middleware"] = api.middleware(closed=_CLOSED_PATHS)
    address = f"[{host}]" if ":" in host else host
    try:
        page.launch(**options, server_name=address, server_port=port)
    except OSError as error:
        raise PortTakenError(host=host, port=port) from error
    try:
        shown = "127.0.0.1" if host == _EVERYWHERE else address
        print(f"ORION answers on http://{shown}:{port}", file=sys.stderr, flush=True)  # noqa: T201
        _calm_collector()
        engine.keep_spares()
        signals.reload_when_asked(engine)
        signals.wait()
        grace_s = engine.settings.grace_s
        said = f"ORION is stopping: answers under way have {grace_s:g} s; once more leaves at once."
        print(said, file=sys.stderr, flush=True)  # noqa: T201
        engine.shutdown()
        _let_streams_flush(engine)
    finally:
        page.close(limit_s=_CLOSE_LIMIT_S)


class _Signals:
    """What signals ask for; the handlers only note it. Made on the main thread.

    SIGTERM and Ctrl-C: the first asks to stop, the second leaves at once. SIGHUP asks to read
    `models.json` again, unless it says that the terminal has gone: that stops.
    """

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._is_stopping = False
        self._had_terminal = _has_terminal()
        # Simple queues, because a handler may interrupt itself: an event's lock would hold it.
        self._stops: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reloads: queue.SimpleQueue[None] = queue.SimpleQueue()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_stop)
            if hasattr(signal, "SIGHUP"):
                signal.signal(signal.SIGHUP, self._on_hangup)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if self._is_stopping:
            shutil.rmtree(self._scratch, ignore_errors=True)
            os._exit(128 + number)  # the children end with their pipes
        self._is_stopping = True
        self._stops.put(None)

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._reloads.put(None)

    def wait(self) -> None:
        """Until one asked to stop."""
        self._stops.get()

    def reload_when_asked(self, engine: Engine) -> None:
        """Start the thread that carries out what SIGHUP asks for; it ends with the process."""
        threading.Thread(
            target=self._reload, args=(engine,), name="orion-reload", daemon=True
        ).start()

    def _reload(self, engine: Engine) -> None:
        while True:
            self._reloads.get()
            if self._had_terminal and not _has_terminal():
                self._stops.put(None)
                return
            try:
                engine.reload()
            except OrionError as error:  # what is wrong stands in the log; say it here as well
                said = f"ORION keeps its registry: {error.public_message}"
                print(said, file=sys.stderr, flush=True)  # noqa: T201
            except Exception:  # the next signal must find this thread
                engine.log.exception("registry.reload_failed")


def _has_terminal() -> bool:
    if not hasattr(os, "O_NOCTTY"):
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _calm_collector() -> None:
    """Collections that walk what a crowd just brought, seldom, and never Gradio.

    Nothing moves meanwhile: a full one over a million objects of the page takes a tenth of a
    second, and by Python's own measure a thousand connections set off a dozen.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 10, 10)


def _let_streams_flush(engine: Engine) -> None:
    """Give the last words of ended answers time to leave through their connections."""
    until_s = time.monotonic() + _FLUSH_LIMIT_S
    while engine.stats()["requests"]["in_flight"] and time.monotonic() < until_s:
        time.sleep(0.02)
    time.sleep(_FLUSH_S)


def _on_a_space(settings: Settings) -> Settings:
    if "SPACE_ID" in space_environment() and "host" not in settings.model_fields_set:
        return settings.model_copy(update={"host": _EVERYWHERE})
    return settings


def _free_port(host: str, port: int) -> int:
    """`port` if it is free, or a free one for 0; told now, not after a long import."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTakenError(host=host, port=port) from error
            reason = error.strerror or type(error).__name__
            raise CannotListenError(host=host, port=port, reason=reason) from error
        return int(probe.getsockname()[1])

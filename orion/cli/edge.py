"""Where the process meets its caller: arguments in, exit status out, one line per failure."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from orion.cli.commands import app
from orion.cli.output import Console, OutputClosedError
from orion.errors import OrionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 128 + 13
"""As a shell reports a program that a closed pipe ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 (failed), 2 (bad usage), 130 (Ctrl-C).

    Args:
        argv: Arguments without the program's name; None takes those of the process.
    """
    console = Console()
    _never_fail_on_characters()
    with _orderly_sigterm():
        try:
            return _run(list(sys.argv[1:] if argv is None else argv), console)
        except OutputClosedError:
            _give_up_on_stdout()
            return EXIT_BROKEN_PIPE
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED


def _run(argv: list[str], console: Console) -> int:
    command = typer.main.get_command(app)
    try:
        status = command.main(
            args=argv or ["--help"], prog_name="orion", standalone_mode=False, obj=console
        )
    except OrionError as error:
        return _failed(console, error)
    except typer.TyperException as error:  # usage: an unknown option, a missing argument
        console.error(error.format_message() + _see_help(error), code="usage")
        return EXIT_USAGE
    except OutputClosedError:
        raise
    except Exception as error:
        if console.debug:
            raise
        kind = type(error).__name__
        console.error(f"{kind}: {error} (--debug shows where)", code="internal")
        return EXIT_FAILED
    return status if isinstance(status, int) else 0


def _failed(console: Console, error: OrionError) -> int:
    if console.debug:
        raise error
    if console.as_json and not console.wrote_json:
        document = {"code": error.code, "message": error.public_message}
        if error.partial_text:
            document["partial_text"] = error.partial_text
        console.document({"error": document})
    only_a_part = " Only a part of the answer came." if error.partial_text else ""
    console.error(error.public_message + only_a_part, code=error.code)
    return EXIT_FAILED


def _see_help(error: typer.TyperException) -> str:
    context: Any = getattr(error, "ctx", None)
    return f" See: {context.command_path} --help" if context else ""


@contextlib.contextmanager
def _orderly_sigterm() -> Iterator[None]:
    """Unwind on SIGTERM, so that engines and children are ended. Main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _never_fail_on_characters() -> None:
    """Print what the terminal cannot show as an escape, which JSON reads back unharmed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_on_stdout() -> None:
    """Point standard output nowhere, so that the interpreter's last flush does not fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

"""`orion ask`: one answer through the whole engine, streamed or as a document."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from orion.cli.options import one_shot_engine
from orion.cli.reading import read_bytes, read_stdin
from orion.errors import CancelledError, GenerationError, InvalidQueryError
from orion.types import (
    Answer,
    DeltaEvent,
    ErrorEvent,
    FinalEvent,
    FinishReason,
    ProgressEvent,
)
from orion.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orion.cli.output import Console
    from orion.types import Event

STDIN = "-"
_PHASES = {
    "queue": "waiting",
    "initializing": "starting the model",
    "importing": "importing the model (once)",
    "verifying": "checking the weights (once)",
    "loading_shard": "loading the model",
    "completing": "loading the model",
    "prefill": "reading the message",
}


def run_ask(console: Console, text: str, options: dict[str, Any], history: Path | None) -> None:
    """Answer `text`; see `orion ask --help`.

    Raises:
        OrionError: The request was refused or failed.
    """
    if text == STDIN:
        text = read_stdin(field="text")
    if history is not None:
        options = {**options, "history": read_history(history)}
    with one_shot_engine(console) as engine:
        if console.as_json:
            console.document(engine.ask(text, **options).as_dict())
            return
        with contextlib.closing(engine.stream(text, **options)) as events:
            answer = show(events, console)
    if answer.finish_reason is FinishReason.CANCELLED:
        raise CancelledError


def read_history(file: Path) -> list[Any]:
    """The messages of a JSON file; their content is the engine's to judge.

    Raises:
        InvalidQueryError: No JSON list in the file.
    """
    body = read_bytes(file, field="history")
    try:
        messages = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidQueryError(field="history", reason="is a file without JSON") from error
    if not isinstance(messages, list):
        raise InvalidQueryError(field="history", reason="must be a JSON list of messages")
    return messages


def show(events: Iterator[Event], console: Console) -> Answer:
    """Write the pieces of an answer as they come; what is not text goes to stderr.

    Raises:
        OrionError: The request failed; what had come is written.
    """
    wrote = False
    for event in events:
        match event:
            case ProgressEvent():
                console.progress(_PHASES.get(event.phase, event.phase), event.ratio)
            case DeltaEvent() if event.text:
                console.end_progress()
                console.piece(event.text)
                wrote = True
            case FinalEvent():
                _close(event.answer, console)
                return event.answer
            case ErrorEvent():
                console.end_progress()
                if wrote:
                    console.line()
                event.error.partial_text = event.text
                raise event.error
            case _:
                continue
    raise GenerationError(reason="the answer ended without an end")


def _close(answer: Answer, console: Console) -> None:
    """End the text, and say what is to be said of it."""
    console.end_progress()
    console.line()
    if answer.fallback_from:
        console.note(f"{answer.fallback_from} could not answer; {answer.agent} did in its place")
    if sys.stderr.isatty():
        console.note(_summary(answer))


def _summary(answer: Answer) -> str:
    parts = [answer.agent, answer.model, answer.runtime]
    parts.append(f"{answer.usage.completion_tokens} tokens")
    if answer.timings.tokens_per_s:
        parts.append(f"{answer.timings.tokens_per_s:.0f} tokens/s")
    if answer.timings.ttft_s is not None:
        parts.append(f"first text after {format_seconds(answer.timings.ttft_s)}")
    if answer.finish_reason is FinishReason.LENGTH:
        parts.append("cut at --max-tokens")
    return " · ".join(parts)

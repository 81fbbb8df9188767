"""OpenAI's response shapes as bytes. A chunk costs one `json.dumps` of its text."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from orion.errors import (
    ContextTooLongError,
    InvalidQueryError,
    OrionError,
    UnknownAgentError,
)

if TYPE_CHECKING:
    from orion.types import Answer, ErrorEvent, Usage

DONE = b"data: [DONE]\n\n"
_ENCODER = json.JSONEncoder(separators=(",", ":"))

_CLIENT_FAULT = range(400, 500)
_COME_BACK = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def dumps(value: Any) -> bytes:
    """`value` as compact ASCII JSON."""
    return _ENCODER.encode(value).encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as the protocol tells it. `retry_after_s` in seconds, where known."""

    status: int
    code: str
    message: str
    param: str | None = None
    retryable: bool = False
    retry_after_s: float | None = None
    partial_text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The value of `error` in a body."""
        told = {
            "message": self.message,
            "type": _error_type(self.status),
            "param": self.param,
            "code": self.code,
        }
        wait_s = self.come_back_s
        return told if wait_s is None else {**told, "retry_after_s": wait_s}

    @property
    def come_back_s(self) -> int | None:
        """Whole seconds after which asking again makes sense; None where that is not known."""
        if self.retry_after_s is not None:
            return max(1, math.ceil(self.retry_after_s))
        return 1 if self.retryable and self.status in _COME_BACK else None

    @property
    def headers(self) -> dict[str, str]:
        """What the headers tell of it."""
        named = {"x-should-retry": "true" if self.retryable else "false"}
        wait_s = self.come_back_s
        if wait_s is not None:
            named["retry-after"] = str(wait_s)
        return named


def _error_type(status: int) -> str:
    named = {401: "authentication_error", 429: "rate_limit_error"}.get(status)
    return named or ("invalid_request_error" if status in _CLIENT_FAULT else "server_error")


def problem_of(error: OrionError) -> Problem:
    """`error` in the protocol's words, without a view of the inside."""
    param = None
    if isinstance(error, UnknownAgentError):
        param = "model"
    elif isinstance(error, ContextTooLongError):
        param = "messages"
    elif isinstance(error, InvalidQueryError):
        param = error.facts.get("field")
    return Problem(
        status=error.status,
        code=error.code,
        message=error.public_message,
        param=param,
        retryable=error.retryable,
        retry_after_s=error.facts.get("retry_after_s"),
        partial_text=error.partial_text,
    )


def usage_dict(usage: Usage) -> dict[str, Any]:
    """Token counts as the protocol names them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def orion_dict(answer: Answer) -> dict[str, Any]:
    """The `orion` object: how the answer came about, without its text."""
    return {key: value for key, value in answer.as_dict().items() if key != "text"}


def completion(answer: Answer, *, created: int) -> bytes:
    """The body of an answer that was not streamed."""
    return dumps(
        {
            "id": f"chatcmpl-{answer.request_id}",
            "object": "chat.completion",
            "created": created,
            "model": answer.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer.text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": str(answer.finish_reason),
                }
            ],
            "usage": usage_dict(answer.usage),
            "orion": orion_dict(answer),
        }
    )


class ChunkWriter:
    """Server-sent events of one streamed answer; the constant parts are made once."""

    def __init__(self, *, request_id: str, model: str, created: int, include_usage: bool) -> None:
        head = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._head = b"data: " + dumps(head)[:-1]
        self._include_usage = include_usage
        self._usage = b',"usage":null' if include_usage else b""
        choice = self._head + b',"choices":[{"index":0,"delta":{'
        self._before_first = choice + b'"role":"assistant","content":'
        self._before = choice + b'"content":'
        self._after = b'},"logprobs":null,"finish_reason":null}]' + self._usage + b"}\n\n"

    def text(self, text: str) -> bytes:
        """The next piece."""
        return self._before + json.dumps(text).encode("ascii") + self._after

    def first(self, text: str) -> bytes:
        """The first piece, which also says who speaks. `text` may be empty."""
        return self._before_first + json.dumps(text).encode("ascii") + self._after

    def end(self, answer: Answer) -> bytes:
        """The reason of the end, the `orion` object, the usage if asked for, `[DONE]`.

        A cancelled answer has no reason in this protocol: `finish_reason` stays null
        and the `orion` object says `cancelled`.
        """
        reason = str(answer.finish_reason)
        choice = {
            "index": 0,
            "delta": {},
            "logprobs": None,
            "finish_reason": None if reason == "cancelled" else reason,
        }
        parts = [
            self._head,
            b',"choices":[',
            dumps(choice),
            b"]",
            self._usage,
            b',"orion":',
            dumps(orion_dict(answer)),
            b"}\n\n",
        ]
        if self._include_usage:
            usage = dumps(usage_dict(answer.usage))
            parts += [self._head, b',"choices":[],"usage":', usage, b"}\n\n"]
        return b"".join([*parts, DONE])


def error_chunk(event: ErrorEvent) -> bytes:
    """The end of a stream that failed after text had gone out: that text stays valid."""
    described = event.as_dict()
    orion = {name: described[name] for name in ("request_id", "partial", "states", "timings")}
    body = {"error": problem_of(event.error).as_dict(), "orion": orion}
    return b"data: " + dumps(body) + b"\n\n"

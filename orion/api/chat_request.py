"""The body of `/v1/chat/completions` → the arguments of `Engine.stream`.

Only what the protocol adds is checked here; ranges and sizes are the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from orion.api.messages import read_messages
from orion.errors import InvalidQueryError
from orion.types import AUTO

if TYPE_CHECKING:
    from orion.api.messages import Conversation
    from orion.errors import OrionError

MAX_STOPS = 8
MAX_STOP_CHARS = 64

SAMPLING = ("temperature", "top_p", "seed", "top_k", "min_p", "repetition_penalty")
"""Passed on under the same name; the last three are extensions."""

READ = frozenset(
    {
        *SAMPLING,
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "session",
        "trim_history",
        "keep_alive",
        "deadline_s",
    }
)

IGNORED = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Fields of the protocol whose absence of effect changes nobody's answer for the worse.

`user` and `safety_identifier` say whose share a request counts against; see `client_of`.
"""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "moderation": (),
}
"""Fields that would change the answer and are not supported: the values that ask nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a client asked for. `arguments` are those of `Engine.stream`, unchecked."""

    model: str
    stream: bool
    include_usage: bool
    conversation: Conversation
    token_limit: str
    arguments: dict[str, Any]

    def as_sent(self, error: OrionError) -> OrionError:
        """`error` with the engine's field name replaced by the one the client used."""
        field = error.facts.get("field")
        if not isinstance(error, InvalidQueryError) or not isinstance(field, str):
            return error
        names = {"agent": "model", "max_tokens": self.token_limit}
        name = names.get(field) or self.conversation.place_of(field)
        return type(error)(**{**error.facts, "field": name})


def read_chat_request(body: dict[str, Any], *, client: str = "") -> ChatRequest:
    """`body` as a request of `client`.

    Raises:
        InvalidQueryError: A parameter is unknown, unsupported or of the wrong shape;
            `field` is its name.
    """
    given = {name: value for name, value in body.items() if value is not None}
    _refuse_unsupported(given)
    model = given.get("model", AUTO)
    if not isinstance(model, str):
        _refuse("model", "must be a string: auto, an agent id or a model id")
    conversation = read_messages(given.get("messages"))
    stream = _flag(given, "stream")
    token_limit, max_tokens = _max_tokens(given)
    return ChatRequest(
        model=model,
        stream=stream,
        include_usage=_include_usage(given, stream=stream),
        conversation=conversation,
        token_limit=token_limit,
        arguments={
            "text": conversation.text,
            "history": conversation.history,
            "system_prompt": conversation.system_prompt,
            "agent": model,
            "max_tokens": max_tokens,
            "stop": _stop(given.get("stop")),
            "session": _session(given.get("session")),
            "trim_history": _flag(given, "trim_history"),
            "keep_alive": given.get("keep_alive"),
            "deadline_s": given.get("deadline_s"),
            "client": client,
            **{name: given.get(name) for name in SAMPLING},
        },
    )


def _refuse(field: str, reason: str) -> NoReturn:
    raise InvalidQueryError(field=field, reason=reason)


def _refuse_unsupported(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name in NEUTRAL:
            if not any(_same(value, neutral) for neutral in NEUTRAL[name]):
                _refuse(name, _unsupported(name))
        elif name not in READ and name not in IGNORED:
            _refuse(name[:80], "is not a parameter of this server")


def _same(value: Any, neutral: Any) -> bool:
    # `True == 1` would let `n: true` through.
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)


def _unsupported(name: str) -> str:
    accepted = [repr(value) for value in NEUTRAL[name] if value not in ([], {})]
    only = f" (only {' or '.join(accepted)})" if accepted else ""
    return f"is not supported{only}; leave it out"


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        _refuse(name, "must be true or false")
    return value


def _include_usage(given: dict[str, Any], *, stream: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict):
        _refuse("stream_options", "must be an object")
    if options and not stream:
        _refuse("stream_options", "needs `stream: true`")
    wanted = options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        _refuse("stream_options.include_usage", "must be true or false")
    return bool(wanted)


def _max_tokens(given: dict[str, Any]) -> tuple[str, Any]:
    """The name the client used, and the value."""
    newer, older = given.get("max_completion_tokens"), given.get("max_tokens")
    if newer is not None and older is not None and newer != older:
        _refuse("max_tokens", "differs from `max_completion_tokens`; give one of them")
    return ("max_tokens", older) if newer is None else ("max_completion_tokens", newer)


def _stop(value: Any) -> list[str] | None:
    if value is None:
        return None
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        _refuse("stop", "must be a string or a list of strings")
    if len(stops) > MAX_STOPS:
        _refuse("stop", f"has {len(stops)} strings; at most {MAX_STOPS} are accepted")
    for index, stop in enumerate(stops):
        if not 1 <= len(stop) <= MAX_STOP_CHARS:
            _refuse(f"stop[{index}]", f"must have 1 to {MAX_STOP_CHARS} characters")
    return stops


def _session(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        _refuse("session", "must be a string")
    return value

"""An engine that plays a script: the interface of `orion.engine.Engine`, no model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import structlog

from orion.errors import OrionError
from orion.registry import AGENT_IDS, Registry, parse_registry
from orion.settings import Settings
from orion.types import (
    Answer,
    DeltaEvent,
    ErrorEvent,
    Event,
    FinalEvent,
    FinishReason,
    ProgressEvent,
    RequestState,
    Route,
    RouteEvent,
    StateEvent,
    Timings,
    Usage,
)

MODEL = "tiny-model"
HEARTBEAT_S = 0.02
STATES = ("validating", "routing", "inferencing", "success")

Script = Callable[["Call"], Iterator[Event]]


@dataclass(frozen=True)
class Call:
    """One call of `ScriptedEngine.stream`, as it came."""

    text: Any
    options: dict[str, Any]
    hold: threading.Event | None = None

    @property
    def request_id(self) -> str:
        return str(self.options["request_id"])


class ScriptedEngine:
    """Plays `script` for every request and records what it was asked."""

    def __init__(self, script: Script | None = None, **settings: Any) -> None:
        self.script = script or answering("Hello", ", world")
        self.settings = Settings(**settings)
        self.registry = tiny_registry()
        self.metrics = ScriptedMetrics()
        self.log = structlog.get_logger()
        self.calls: list[Call] = []
        self.cancelled: list[str] = []
        self.asked: list[tuple[str, Any]] = []
        self.entered = threading.Semaphore(0)
        self.closed = threading.Event()
        self.hold = threading.Event()
        self.full: Callable[[str], OrionError | None] = lambda client: None
        self.ready: dict[str, Any] = {"status": "ready", "ready": True, "reasons": []}

    def stream(self, text: Any, **options: Any) -> Iterator[Event]:
        call = Call(text, options, self.hold)
        self.calls.append(call)
        self.entered.release()
        try:
            yield from self.script(call)
        finally:
            self.closed.set()

    def door(self, client: str = "") -> OrionError | None:
        return self.full(client)

    def retry_after_s(self) -> float:
        return 2.5

    def cancel(self, request_id: str) -> bool:
        self.cancelled.append(request_id)
        return True

    def health(self) -> dict[str, Any]:
        return self.ready

    def load(self, name: str, *, keep_alive: Any = None, pin: Any = None) -> dict[str, Any]:
        given = {key: value for key, value in (("keep_alive", keep_alive), ("pin", pin)) if value}
        return self._asked("load", {"name": name, **given} if given else name, {"resident": True})

    def reload(self) -> dict[str, Any]:
        return self._asked("reload", None, {"changed": [], "registry_sha256": "0" * 64})

    def unload(self, name: str) -> dict[str, Any]:
        return self._asked("unload", name, {"unloaded": True})

    def reset_breakers(self, name: str | None = None) -> list[str]:
        return self._asked("reset_breakers", name, ["generate:code-agent"])

    def force_open(self, name: str) -> list[str]:
        return self._asked("force_open", name, ["generate:code-agent"])

    def inject_fault(
        self, agent: str, kind: str, *, where: str = "generate", times: int = 1
    ) -> dict[str, Any]:
        fault = {"target": agent, "kind": kind, "where": where, "times": times}
        return self._asked("inject_fault", fault, fault)

    def faults(self) -> list[dict[str, Any]]:
        return self._asked("faults", None, [])

    def clear_faults(self) -> int:
        return self._asked("clear_faults", None, 2)

    def purge_session(self, session: str) -> None:
        self._asked("purge_session", session, None)

    def draft(
        self, text: str, *, session: str | None = None, agent: str = "auto", history: Any = None
    ) -> dict[str, Any]:
        given = {"text": text, "session": session, "agent": agent, "history": history}
        found = {"agent": "code-agent", "confidence": 0.874, "abstained": False}
        state = {"model": MODEL, "resident": False, "warming": True}
        return self._asked("draft", given, {**found, **state})

    def _asked(self, name: str, given: Any, answer: Any) -> Any:
        self.asked.append((name, given))
        return answer


class ScriptedMetrics:
    """One counter, written out, and the codes of those that were refused."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def refused(self, code: str) -> None:
        self.codes.append(code)

    def render(self) -> bytes:
        return b"# TYPE orion_requests_total counter\norion_requests_total 3.0\n"


def opening(call: Call) -> Iterator[Event]:
    """What comes before the first text."""
    yield StateEvent(request_id=call.request_id, state=RequestState.ROUTING, elapsed_s=0.001)
    yield ProgressEvent(request_id=call.request_id, phase="queue", elapsed_s=0.002, position=1)
    yield RouteEvent(request_id=call.request_id, route=route_of("code-agent"), model=MODEL)
    yield delta(call, "")


def delta(call: Call, text: str) -> DeltaEvent:
    return DeltaEvent(request_id=call.request_id, text=text, num_tokens=1)


def state(call: Call, name: RequestState) -> StateEvent:
    return StateEvent(request_id=call.request_id, state=name, elapsed_s=0.001)


def final(
    call: Call, text: str, finish: FinishReason = FinishReason.STOP, **changes: Any
) -> FinalEvent:
    answer = Answer(
        request_id=call.request_id,
        text=text,
        agent="code-agent",
        model=MODEL,
        runtime="llamacpp",
        finish_reason=finish,
        route=route_of("code-agent"),
        timings=Timings(ttft_s=0.05, total_s=0.1),
        usage=Usage(prompt_tokens=7, cached_tokens=2, completion_tokens=5),
        states=STATES,
    )
    return FinalEvent(request_id=call.request_id, answer=replace(answer, **changes))


def failed(call: Call, error: OrionError, text: str = "") -> ErrorEvent:
    return ErrorEvent(
        request_id=call.request_id,
        error=error,
        text=text,
        states=("validating", "error"),
        timings=Timings(),
    )


def route_of(agent: str) -> Route:
    return Route(
        agent=agent, confidence=0.9, scores={agent: 0.9}, abstained=False, reason="r", router="fake"
    )


def answering(*pieces: str, finish: FinishReason = FinishReason.STOP) -> Script:
    """The pieces, then the end."""

    def script(call: Call) -> Iterator[Event]:
        yield from opening(call)
        for piece in pieces:
            yield delta(call, piece)
        yield final(call, "".join(pieces), finish)

    return script


def failing(error: OrionError, *, after: str = "") -> Script:
    """`error`, after some text or at once."""

    def script(call: Call) -> Iterator[Event]:
        yield from opening(call)
        if after:
            yield delta(call, after)
        yield failed(call, error, after)

    return script


def falling_back(first: str, second: str, text: str, *, model: str = "other-model") -> Script:
    """`first` fails before it says anything, and `second` answers with `model`."""

    def script(call: Call) -> Iterator[Event]:
        walked = []
        for agent in (first, second):
            begun = [RequestState.LOADING_AGENT, RequestState.INFERENCING]
            yield RouteEvent(
                request_id=call.request_id,
                route=route_of(agent),
                model=MODEL if agent == first else model,
            )
            walked += [*begun, *([RequestState.FALLBACK] if agent == first else [])]
            for name in walked[-3:] if agent == first else begun:
                yield state(call, name)
        yield delta(call, text)
        yield state(call, RequestState.SUCCESS)
        path = tuple(str(name) for name in [*walked, RequestState.SUCCESS])
        yield final(
            call, text, agent=second, model=model, fallback_from=first, states=path,
            route=route_of(first),
        )  # fmt: skip

    return script


def raising(error: Exception) -> Script:
    """An engine with a bug."""

    def script(call: Call) -> Iterator[Event]:
        yield from opening(call)
        raise error

    return script


def silent_before(script: Script) -> Script:
    """`script`, once its engine's `hold` is set; until then not even in the queue."""

    def held(call: Call) -> Iterator[Event]:
        yield state(call, RequestState.LOADING_AGENT)
        assert call.hold is not None
        call.hold.wait(10.0)
        yield from script(call)

    return held


class Endless:
    """Text until the stream is closed; `num_tokens` counts as a worker would."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.num_tokens = 0
        self.started = threading.Event()
        self._never = threading.Event()

    def __call__(self, call: Call) -> Iterator[Event]:
        yield from opening(call)
        self.started.set()
        while not self._never.wait(HEARTBEAT_S):
            self.num_tokens += 1
            if self.silent:
                yield ProgressEvent(request_id=call.request_id, phase="prefill", elapsed_s=1.0)
            else:
                yield delta(call, "word ")


class Gated:
    """The pieces, each when `release` is called; what piles up comes as one burst."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self._gate = threading.Semaphore(0)

    def release(self, count: int = 1) -> None:
        self._gate.release(count)

    def __call__(self, call: Call) -> Iterator[Event]:
        yield from opening(call)
        for piece in self.pieces:
            self._gate.acquire()
            yield delta(call, piece)
        self._gate.acquire()
        yield final(call, "".join(self.pieces))


def tiny_registry() -> Registry:
    """The five agents over one pinned model, and one model that is not pinned."""
    words = {"en": "Words", "fr": "Mots"}
    model = {
        "name": "Tiny",
        "family": "tiny",
        "description": "A model that is not there.",
        "parameters": 1000,
        "context_tokens": 512,
        "languages": ["en"],
        "licence": "Apache-2.0",
    }
    pinned = {
        "id": "q4",
        "runtime": "llamacpp",
        "format": "gguf",
        "precision": "q4_0",
        "bits_per_weight": 4.5,
        "source": {"kind": "wheel", "distribution": "tiny-wheel", "version": "1.0"},
        "files": [{"path": "tiny.gguf", "size_bytes": 1, "sha256": "0" * 64}],
    }
    unpinned = {
        **pinned,
        "source": {"kind": "hub", "repo": "someone/Tiny-GGUF"},
        "files": [],
        "filenames": ["tiny.gguf"],
    }
    return parse_registry(
        json.dumps(
            {
                "version": 1,
                "models": {
                    MODEL: {**model, "variants": [pinned]},
                    "hub-model": {**model, "variants": [unpinned]},
                },
                "agents": {
                    agent_id: {
                        "name": words,
                        "description": words,
                        "model": MODEL,
                        "system_prompt": "You answer.",
                    }
                    for agent_id in AGENT_IDS
                },
            }
        )
    )

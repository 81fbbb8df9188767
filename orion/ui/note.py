"""The lines around an answer: what answered and why, what failed, which state it is in."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from orion.types import RequestState
from orion.ui.texts import CATALOGUES, say, span, state_name
from orion.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orion.types import ProgressEvent
    from orion.ui.conversation import AnswerFacts, Failure

USUAL_PATH = (
    RequestState.VALIDATING,
    RequestState.ROUTING,
    RequestState.CACHE_LOOKUP,
    RequestState.LOADING_AGENT,
    RequestState.INFERENCING,
    RequestState.SUCCESS,
)
_LAST = (RequestState.SUCCESS, RequestState.ERROR, RequestState.CANCELLED)


def headline(facts: AnswerFacts, locale: str) -> str:
    """One line: agent, model, runtime, tokens, speed, first text, and what was special."""
    parts = [_who(facts, locale), facts.model, facts.runtime]
    parts.append(say("note.tokens", locale, count=facts.usage.completion_tokens))
    if facts.timings.tokens_per_s:
        parts.append(say("note.rate", locale, rate=_rate(facts.timings.tokens_per_s)))
    if facts.timings.ttft_s is not None:
        start = say(f"note.start.{facts.timings.start}", locale)
        seconds = format_seconds(facts.timings.ttft_s)
        parts.append(say("note.ttft", locale, seconds=seconds, start=start))
    if facts.finish_reason != "stop":
        parts.append(say(f"note.{facts.finish_reason}", locale))
    if facts.cached:
        parts.append(_cached(facts.cached_age_s, locale))
    return " · ".join(parts)


def _cached(age_s: float | None, locale: str) -> str:
    if age_s is None:
        return say("note.cached", locale)
    if age_s == 0:  # made at that moment, for somebody who had asked the same
        return say("note.cached.joined", locale)
    return say("note.cached.age", locale, age=span(age_s))


def _who(facts: AnswerFacts, locale: str) -> str:
    if not facts.fallback_from:
        return facts.agent
    return say("note.fallback", locale, agent=facts.agent, first=facts.fallback_from)


def details(facts: AnswerFacts, locale: str) -> str:
    """Markdown list: where the time went, tokens, path."""
    times = [
        say(f"note.{name}", locale, seconds=format_seconds(value))
        for name in ("guard", "route", "failed", "queue", "load", "prefill", "decode")
        if (value := getattr(facts.timings, f"{name}_s")) >= 0.0005  # noqa: PLR2004 - reads 0 ms
    ]
    times.append(say("note.total", locale, seconds=format_seconds(facts.timings.total_s)))
    usage = facts.usage
    tokens = ", ".join(
        (
            say("note.prompt", locale, count=usage.prompt_tokens, cached=usage.cached_tokens),
            say("note.completion", locale, count=usage.completion_tokens),
        )
    )
    path = " → ".join(state_name(state, locale) for state in facts.states)
    rows = (
        ("note.time", ", ".join(times)),
        ("note.usage", tokens),
        ("note.path", path),
    )
    return "\n".join(f"- **{say(key, locale)}**: {plain(text)}" for key, text in rows if text)


def why(facts: AnswerFacts, locale: str) -> str:
    """Second line: the router's reason with its confidence, or that the person chose.

    After a fallback it is about the agent that was to answer.
    """
    if facts.chosen:
        reason = say("note.chosen", locale)
    else:
        percent = round(facts.route.confidence * 100)
        reason = f"{facts.route.reason} ({say('note.confidence', locale, percent=percent)})"
    if facts.fallback_from:
        return f"{say('note.first', locale, agent=facts.fallback_from)} {reason}"
    return f"{say('note.why', locale)} {reason}"


def failure_text(failure: Failure, locale: str, *, partial: bool) -> str:
    """Markdown: what went wrong in words, its code, and what can be done."""
    code = "".join(char for char in failure.code if char.isalnum() or char in "_-")
    lines = [f"**{say('error.title', locale)}** (`{code}`): {plain(failure.message)}"]
    if partial:
        lines.append(say("error.partial", locale))
    if failure.retryable:
        lines.append(say("error.retry", locale))
    return "\n".join(f"> {line}" for line in lines)


def plain(text: str) -> str:
    """`text` as Markdown that shows it literally, on one line."""
    return "".join(
        f"\\{char}" if char in r"\`*_{}[]()<>#+-.!|~$" else char for char in text
    ).replace("\n", " ")


def phase_text(progress: ProgressEvent, locale: str) -> str:
    """What a wait is for, with its place in the queue and how long that takes, or how far it is."""
    if progress.phase == "queue" and progress.position:
        if progress.wait_s is None:
            return say("phase.queue.position", locale, position=progress.position)
        wait = span(progress.wait_s)
        return say("phase.queue.estimate", locale, position=progress.position, wait=wait)
    words = CATALOGUES[locale].get(f"phase.{progress.phase}", progress.phase)
    return words if progress.ratio is None else f"{words} · {progress.ratio:.0%}"


def chain_html(states: Sequence[RequestState], progress: ProgressEvent | None, locale: str) -> str:
    """The states of a request, the current one marked; HTML, everything escaped.

    Without states: the usual way, none of it gone yet.
    """
    steps = [*states, *_ahead(states)]
    current = len(states) - 1
    items = []
    for index, state in enumerate(steps):
        kind = "done" if index < current else "now" if index == current else "next"
        mark = ' aria-current="step"' if kind == "now" else ""
        is_queued = kind == "now" and progress is not None and progress.phase == "queue"
        name = escape(say("state.queued", locale) if is_queued else state_name(state, locale))
        items.append(
            f'<li class="{kind} {escape(state)}" data-state="{escape(state)}"{mark}>{name}</li>'
        )
    label = escape(say("chain.label", locale), quote=True)
    wait = _wait_html(progress, locale) if progress else ""
    return f'<ol class="chain" aria-label="{label}">{"".join(items)}</ol>{wait}'


def _ahead(states: Sequence[RequestState]) -> list[RequestState]:
    """The usual states still to come."""
    if states and states[-1] in _LAST:
        return []
    walked = list(states)
    if RequestState.FALLBACK in walked:  # the agent that takes over is loaded, then answers
        latest = len(walked) - walked[::-1].index(RequestState.FALLBACK)
        walked = [RequestState.CACHE_LOOKUP, *walked[latest:]]
    reached = [USUAL_PATH.index(state) for state in walked if state in USUAL_PATH]
    return list(USUAL_PATH[max(reached, default=-1) + 1 :])


def _wait_html(progress: ProgressEvent, locale: str) -> str:
    words = escape(phase_text(progress, locale))
    bar = (
        ""
        if progress.ratio is None
        else f'<progress max="1" value="{progress.ratio:.3f}"></progress>'
    )
    seconds = f"{progress.elapsed_s:.0f}"
    estimated = progress.phase == "queue" and progress.position and progress.wait_s is not None
    gone = say("phase.so_far", locale, seconds=seconds) if estimated else f"{seconds} s"
    return f'<span class="wait">{words}, {gone}{bar}</span>'


def status_html(health: Mapping[str, Any], stats: Mapping[str, Any], locale: str) -> str:
    """One line for the top of the page: health, models in memory, queue; HTML, escaped."""
    status = str(health.get("status", "down"))
    catalogue = CATALOGUES[locale]
    parts = [_memory(stats.get("workers") or (), locale)]
    if waiting := (stats.get("queue") or {}).get("waiting"):
        parts.append(say("status.waiting", locale, count=waiting))
    paused = [str(name) for name in (health.get("breakers") or {}).get("down") or ()]
    if paused:
        targets = dict.fromkeys(name.partition(":")[2] or name for name in paused)
        parts.append(say("status.paused", locale, names=", ".join(targets)))
    reasons = [str(reason) for reason in health.get("reasons") or ()]
    parts.extend(text for text in reasons if not any(name in text for name in paused))
    words = " · ".join((catalogue.get(f"status.{status}", status), *parts))
    return f'<p class="status {escape(status)}"><span class="dot"></span>{escape(words)}</p>'


def _memory(workers: Sequence[Mapping[str, Any]], locale: str) -> str:
    loaded: list[str] = []
    coming: list[str] = []
    for worker in workers:
        if model := worker.get("model"):
            (coming if worker.get("state") in {"starting", "loading"} else loaded).append(
                str(model)
            )
    if coming and not loaded:
        return say("status.loading", locale, models=", ".join(coming))
    return (
        say("status.resident", locale, models=", ".join(loaded))
        if loaded
        else say("status.none", locale)
    )


def _rate(tokens_per_s: float) -> str:
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 10 else f"{tokens_per_s:.1f}"  # noqa: PLR2004

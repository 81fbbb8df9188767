"""A runtime that streams scripted tokens: fast, exact, and able to misbehave.

The script is the last message: words `key=value` in it set the behaviour, so that a
test drives it through any face. Without any it answers "echo: " and the message.

`tokens=N` that many tokens "tI "; `delay=S` seconds per token; `prefill=S` before the first,
told as it moves; `leak=MB` grow by that much per answer and keep it. After K tokens:
`fail=K` raise; `oom=K` run out of memory; `die=K` kill the process; `exit=K` leave with
status 0; `hang=K`, `stuck=K` neither move nor obey while heartbeats go on; `busy=K` the
same on a full core*; `flood=K` send pieces without end*; `garbage=K` write bytes that are
no frame*; `half=K` write half a frame, then hang*; `wrong=K` send a piece for another
request; `dup=K` send one piece more, twice. Those with a star need a process of their own.

Two words stand without a value, beside one with a value or alone: `deaf` is prefill that
cannot be stopped, `empty` is an answer that ends at once without text.
Loading reads `options["fake"]`: `load_s`, `load_fail`, `load_die`, `load_hang`.
"""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

from orion.errors import AgentLoadError, ContextTooLongError
from orion.runtime.base import Generated, Job, LoadedModel, LoadSpec, Output, Progress
from orion.types import FinishReason, Role
from tests.fakes.misbehave import ACTS, hang_for_ever, misbehave

_WORDS = ("tokens", "delay", "prefill", "leak", *ACTS)
_SETTING = re.compile(rf"\b({'|'.join(_WORDS)})=([0-9.]+)")
_FLAGS = ("deaf", "empty")
_MEGABYTE = 1 << 20
_PREFILL_STEP_S = 0.01


def read_script(text: str) -> dict[str, float]:
    """The words of a script in `text`; a flag that is set has the value 1."""
    script = {key: float(value) for key, value in _SETTING.findall(text)}
    words = text.split()
    for flag in _FLAGS:
        if flag in words and (script or words == [flag]):
            script[flag] = 1.0
    return script


class FakeRuntime:
    """Answers as its script says."""

    name = "fake"

    def __init__(self) -> None:
        self._context_tokens = 0
        self._leaked: list[bytes] = []

    def warm_up(self) -> None:
        """Nothing to import."""

    def load(self, spec: LoadSpec, progress: Progress) -> LoadedModel:
        script: dict[str, Any] = spec.options.get("fake", {})
        for step in range(4):
            progress("loading_shard", step / 4)
            time.sleep(script.get("load_s", 0.0) / 4)
        if script.get("load_die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if script.get("load_hang"):
            hang_for_ever()
        if script.get("load_fail"):
            raise AgentLoadError(model=spec.model, reason=str(script["load_fail"]))
        self._context_tokens = spec.context_tokens
        return LoadedModel(
            slots=spec.slots, context_tokens=spec.context_tokens, details={"fake": True}
        )

    def generate(self, job: Job, output: Output) -> Generated:
        text = job.messages[-1].content
        script = read_script(text)
        prompt_tokens = sum(len(message.content.split()) for message in job.messages)
        if prompt_tokens >= self._context_tokens:
            raise ContextTooLongError(
                prompt_tokens=prompt_tokens, context_tokens=self._context_tokens
            )
        output.started(prompt_tokens=prompt_tokens, trimmed_messages=0)
        pieces = self._pieces(job, script)
        begun_s = time.monotonic()
        if "leak" in script:
            self._leaked.append(b"\x01" * int(script["leak"] * _MEGABYTE))
        self._prefill(script, prompt_tokens, output)
        prefill_s = time.monotonic() - begun_s
        made = 0
        finish = FinishReason.STOP
        for piece in pieces:
            if made >= job.sampling.max_tokens:
                finish = FinishReason.LENGTH
                break
            misbehave(script, made, job, output)
            if output.stopped:
                finish = FinishReason.CANCELLED
                break
            output.piece(piece, 1)
            made += 1
            self._wait(script.get("delay", 0.0), output)
        return Generated(
            finish_reason=finish,
            prompt_tokens=prompt_tokens,
            cached_tokens=0,
            completion_tokens=made,
            prefill_s=prefill_s,
            decode_s=time.monotonic() - begun_s - prefill_s,
        )

    def close(self) -> None:
        """Nothing to let go of."""

    @staticmethod
    def _pieces(job: Job, script: dict[str, float]) -> list[str]:
        if "empty" in script:
            return []
        if "tokens" in script:
            return [f"t{index} " for index in range(int(script["tokens"]))]
        system = [message.content for message in job.messages if message.role is Role.SYSTEM]
        wanted = "system?" in job.messages[-1].content
        prefix = ["system: ", system[0][:40], " "] if system and wanted else []
        return [*prefix, "echo: ", job.messages[-1].content]

    @staticmethod
    def _prefill(script: dict[str, float], prompt_tokens: int, output: Output) -> None:
        seconds = script.get("prefill", 0.0)
        begun_s = time.monotonic()
        while (spent_s := time.monotonic() - begun_s) < seconds:
            if output.stopped and "deaf" not in script:
                return
            output.prefilling(int(prompt_tokens * spent_s / seconds), prompt_tokens)
            time.sleep(min(_PREFILL_STEP_S, seconds - spent_s))

    @staticmethod
    def _wait(seconds: float, output: Output) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0 and not output.stopped:
            time.sleep(min(0.01, left_s))

"""A runtime that streams scripted tokens: fast, exact, and able to misbehave.

The script is the last message: words `key=value` in it set the behaviour, so that a
test drives it through any face. Without any it answers "echo: " and the message.

`tokens=N` that many tokens "tI "; `delay=S` seconds per token; `prefill=S` before the
first; `fail=K` raise after K tokens; `die=K` kill the process after K tokens;
`exit=K` leave with status 0 after K tokens; `hang=K` never return after K tokens;
`garbage=K` write bytes that are no frame after K tokens (process only).
Loading reads `options["fake"]`: `load_s`, `load_fail`, `load_die`, `load_hang`.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from typing import Any

from orion.errors import AgentLoadError, ContextTooLongError
from orion.runtime.base import Generated, Job, LoadedModel, LoadSpec, Output, Progress
from orion.types import FinishReason, Role

_SETTING = re.compile(r"\b(tokens|delay|prefill|fail|die|exit|hang|garbage)=([0-9.]+)")
_FOREVER_S = 3600.0


class FakeRuntime:
    """Answers as its script says."""

    name = "fake"

    def __init__(self) -> None:
        self._context_tokens = 0

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
            threading.Event().wait(_FOREVER_S)
        if script.get("load_fail"):
            raise AgentLoadError(model=spec.model, reason=str(script["load_fail"]))
        self._context_tokens = spec.context_tokens
        return LoadedModel(
            slots=spec.slots, context_tokens=spec.context_tokens, details={"fake": True}
        )

    def generate(self, job: Job, output: Output) -> Generated:
        text = job.messages[-1].content
        script = {key: float(value) for key, value in _SETTING.findall(text)}
        prompt_tokens = sum(len(message.content.split()) for message in job.messages)
        if prompt_tokens >= self._context_tokens:
            raise ContextTooLongError(
                prompt_tokens=prompt_tokens, context_tokens=self._context_tokens
            )
        output.started(prompt_tokens=prompt_tokens, trimmed_messages=0)
        pieces = self._pieces(job, script)
        begun_s = time.monotonic()
        self._wait(script.get("prefill", 0.0), output)
        prefill_s = time.monotonic() - begun_s
        made = 0
        finish = FinishReason.STOP
        for piece in pieces:
            if output.stopped:
                finish = FinishReason.CANCELLED
                break
            if made >= job.sampling.max_tokens:
                finish = FinishReason.LENGTH
                break
            self._misbehave(script, made)
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
        if "tokens" in script:
            return [f"t{index} " for index in range(int(script["tokens"]))]
        system = [message.content for message in job.messages if message.role is Role.SYSTEM]
        wanted = "system?" in job.messages[-1].content
        prefix = ["system: ", system[0][:40], " "] if system and wanted else []
        return [*prefix, "echo: ", job.messages[-1].content]

    @staticmethod
    def _wait(seconds: float, output: Output) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0 and not output.stopped:
            time.sleep(min(0.01, left_s))

    @staticmethod
    def _misbehave(script: dict[str, float], made: int) -> None:
        if script.get("fail") == made:
            message = "scripted failure"
            raise RuntimeError(message)
        if script.get("die") == made:
            os.kill(os.getpid(), signal.SIGKILL)
        if script.get("exit") == made:
            os._exit(0)
        if script.get("hang") == made:
            threading.Event().wait(_FOREVER_S)
        if script.get("garbage") == made:
            for fd in range(3, 64):
                try:
                    os.write(fd, b"\xff" * 64)
                except OSError:
                    continue

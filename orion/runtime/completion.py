"""One completion of llama.cpp's server: its chunks, counted and handed on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from orion.errors import GenerationError
from orion.runtime.base import Generated
from orion.types import FinishReason

if TYPE_CHECKING:
    from orion.runtime.base import Output

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_REASON_CHARS = 200
_TOKENS_IN_FLIGHT = 2
_SETTLE_MAX_S = 0.1


class Completion:
    """Takes each chunk as it comes; returning True from the callback ends the completion.

    A chunk comes after every slice of the prompt and after every token. A stop in prefill
    is therefore heard at the end of a slice; llama.cpp has begun the next one by then and
    gives the slot back after it.
    """

    def __init__(self, output: Output, *, prompt_tokens: int) -> None:
        self._output = output
        self._prompt_tokens = prompt_tokens
        self._begun_s = time.monotonic()
        self._first_s: float | None = None
        self._token_s = 0.0
        self._gap_s = 0.0
        self._num_tokens = 0
        self._last: dict[str, Any] = {}
        self._error: dict[str, Any] | None = None
        self._raised: BaseException | None = None

    def on_chunk(self, chunk: dict[str, Any]) -> bool:
        """One chunk, parsed; returns whether to end. Never raises: that would be swallowed."""
        try:
            return self._take(chunk)
        except BaseException as error:  # noqa: BLE001 - raised again by `generated`
            self._raised = error
            return True

    def _take(self, chunk: dict[str, Any]) -> bool:
        if "error" in chunk:
            self._error = chunk["error"]
            return True
        if "prompt_progress" in chunk:
            self._output.prefilling(int(chunk["prompt_progress"]["processed"]), self._prompt_tokens)
            return self._output.stopped
        choice = chunk["choices"][0]
        if choice["finish_reason"] is None:
            now_s = time.monotonic()
            self._gap_s = now_s - self._token_s if self._num_tokens else 0.0
            self._token_s = now_s
            self._num_tokens += 1
            self._first_s = self._first_s or now_s
            self._output.piece(choice["text"], 1)
        else:
            self._last = {**chunk, "finish_reason": choice["finish_reason"]}
            if choice["text"]:
                self._output.piece(choice["text"], 0)
        return self._output.stopped

    @property
    def settle_s(self) -> float:
        """For how long the slot is still at work after a stop in mid-answer, in seconds.

        llama.cpp tells nobody when it has dropped the tokens it had begun; who is let in before
        that waits for them without knowing why.
        """
        if self._last or not self._num_tokens:
            return 0.0
        return min(_SETTLE_MAX_S, _TOKENS_IN_FLIGHT * self._gap_s)

    def generated(self) -> Generated:
        """How it ended.

        Raises:
            GenerationError: The server said so.
            BaseException: Whatever the output raised when it was given a piece.
        """
        if self._raised is not None:
            raise self._raised
        if self._error is not None:
            reason = str(self._error.get("message", "unknown"))[:_REASON_CHARS]
            raise GenerationError(reason=reason)
        ended_s = time.monotonic()
        timings = self._last.get("timings", {})
        usage = self._last.get("usage", {})
        first_s = self._first_s or ended_s
        if not self._last:
            finish = FinishReason.CANCELLED
        else:
            finish = _FINISH.get(self._last["finish_reason"], FinishReason.STOP)
        return Generated(
            finish_reason=finish,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=int(timings.get("cache_n", 0)),
            completion_tokens=int(usage.get("completion_tokens", self._num_tokens)),
            prefill_s=first_s - self._begun_s,
            decode_s=ended_s - first_s,
        )

"""One answer as its tokens come: text handed on, its end noticed, all of it counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from orion.runtime.base import Generated
from orion.types import FinishReason

if TYPE_CHECKING:
    from orion.runtime.base import Output
    from orion.runtime.text_stream import TextStream
    from orion.runtime.transformers.caching import Passage


class AnswerStream:
    """Takes each id as it is chosen, hands on its text, and says when to end.

    Where `generate` of transformers runs, it calls `put` first with the prompt, then with
    each id, and asks `is_done` after each; a batch calls `take`.
    """

    def __init__(
        self, output: Output, text: TextStream, ending_ids: frozenset[int], passage: Passage
    ) -> None:
        self._passage = passage
        self._output = output
        self._text = text
        self._ending_ids = ending_ids
        self._prompt_seen = False
        self._begun_s = time.monotonic()
        self._first_s: float | None = None
        self._num_tokens = 0
        self._finish: FinishReason | None = None

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended, or nobody wants more of it."""
        return self._finish is not None or self._output.stopped

    def take(self, token: int) -> None:
        """The next id of the answer."""
        if self._first_s is None:
            self._first_s = time.monotonic()
        self._passage.ids.append(token)
        if self._output.stopped:
            self._finish = FinishReason.CANCELLED
        elif token in self._ending_ids:
            self._finish = FinishReason.STOP
        else:
            self._num_tokens += 1
            self._output.piece(self._text.push(token), 1)
            if self._text.stopped:
                self._finish = FinishReason.STOP

    def put(self, ids: Any) -> None:
        """The prompt, then each chosen id `[1]`."""
        if self._prompt_seen:
            self.take(int(ids[0]))
        self._prompt_seen = True

    def end(self) -> None:
        """Called by transformers after the last id; what is left is told in `generated`."""

    def is_done(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
        """The stopping criterion: a bool per row of the batch, `[1]`."""
        import torch

        rows = input_ids.shape[0]
        return torch.full((rows,), self.is_over, dtype=torch.bool, device=input_ids.device)

    def generated(self) -> Generated:
        """Hand on the rest of the text and count up."""
        ended_s = time.monotonic()
        if self._finish is None:
            stopped = self._output.stopped
            self._finish = FinishReason.CANCELLED if stopped else FinishReason.LENGTH
        if self._finish is not FinishReason.CANCELLED and (rest := self._text.finish()):
            self._output.piece(rest, 0)
        if self._text.stopped:
            self._finish = FinishReason.STOP
        first_s = ended_s if self._first_s is None else self._first_s
        return Generated(
            finish_reason=self._finish,
            prompt_tokens=self._passage.prompt_tokens,
            cached_tokens=self._passage.cached_tokens,
            completion_tokens=self._num_tokens,
            prefill_s=first_s - self._begun_s,
            decode_s=ended_s - first_s,
        )

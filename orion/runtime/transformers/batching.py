"""Several answers of one model at once: every step gives each of them a token."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from orion.errors import GenerationError, OutOfMemoryError
from orion.runtime.failure import is_out_of_memory
from orion.runtime.text_stream import TextStream
from orion.runtime.transformers.answering import answer_alone, told
from orion.runtime.transformers.caching import Passage
from orion.runtime.transformers.interrupt import LayerWatch
from orion.runtime.transformers.rows import RowCache
from orion.runtime.transformers.sampling import Chooser
from orion.runtime.transformers.stream import AnswerStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from orion.runtime.base import Generated, Job, Output
    from orion.runtime.prompt import Prompt
    from orion.runtime.transformers.caching import Layers, PassageStore

_PROMPT_STEP_TOKENS = 256
_LOOK_S = 0.05
_JOIN_LIMIT_S = 1.0


class _Row:
    """One answer, from its wish to its end. Made by its job's thread, then the batch's."""

    passage: Passage
    stream: AnswerStream
    chooser: Chooser
    room_tokens: int

    def __init__(self, job: Job, prompt: Prompt, output: Output, *, is_alone: bool) -> None:
        self.job = job
        self.prompt = prompt
        self.output = output
        self.is_alone = is_alone
        self.is_taken = False
        self.is_open = False
        self.read_tokens = 0
        self.over = threading.Event()
        self.generated: Generated | None = None
        self.error: BaseException | None = None


class Batch:
    """Answers share forward passes of one thread: prompts one by one, then all tokens together.

    An answer with a seed has the model for itself: numbers rounded in company may differ.
    So has every answer of a model whose attention states cannot be cut into rows.

    Args:
        model: In evaluation mode.
        passages: States of earlier turns; used by the batch's thread only.
        ending_ids: Ids that end an answer, asked for at its beginning.
        decode: Ids to text.
        context_tokens: Of one answer, prompt and all.
        max_rows: How many answers at once.
    """

    def __init__(
        self,
        model: Any,
        passages: PassageStore,
        *,
        ending_ids: Callable[[], frozenset[int]],
        decode: Callable[[list[int]], str],
        context_tokens: int,
        max_rows: int,
    ) -> None:
        self._model = model
        self._passages = passages
        self._ending_ids = ending_ids
        self._decode = decode
        self._context_tokens = context_tokens
        self._shares = shares_passes(model, passages)
        self._max_rows = max_rows
        self._watch = LayerWatch(model)
        self._cache = RowCache()
        self._rows: list[_Row] = []  # in the order of the cache's
        self._reading: _Row | None = None
        self._waiting: deque[_Row] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
        self._thread.start()

    def answer(self, job: Job, prompt: Prompt, output: Output) -> Generated:
        """Answer `prompt` into `output`, beside others; returns at its end. Thread-safe.

        `output` is used by the batch's thread meanwhile.

        Raises:
            OutOfMemoryError: Memory ran out for this answer.
            GenerationError: The numbers are not finite, or the model failed.
        """
        is_alone = not self._shares or job.sampling.seed is not None
        row = _Row(job, prompt, output, is_alone=is_alone)
        with self._changed:
            if self._is_closed:
                raise GenerationError(reason="no model is loaded")
            self._waiting.append(row)
            self._changed.notify()
        while not row.over.wait(None if row.is_taken else _LOOK_S):
            if output.stopped:
                self._withdraw(row)
        if row.error:
            raise told(row.error) from row.error
        assert row.generated
        return row.generated

    def close(self) -> None:
        """End the thread; who is still there is told that the model failed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(_JOIN_LIMIT_S)

    def _withdraw(self, row: _Row) -> None:
        with self._changed:
            if row.is_taken:
                return
            self._waiting.remove(row)
            row.is_taken = True
            self._changed.notify()  # who waited behind it may be next
        self._open(row, Passage(ids=list(row.prompt.ids)))
        self._end(row)

    def _run(self) -> None:
        import torch

        with torch.no_grad():
            while self._has_work():
                try:
                    self._turn()
                except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
                    self._fail_all(error)
        self._fail_all(GenerationError(reason="the model was let go"))

    def _has_work(self) -> bool:
        with self._changed:
            while not (self._waiting or self._rows or self._reading or self._is_closed):
                self._changed.wait()
            return not self._is_closed

    def _turn(self) -> None:
        for stopped in [row for row in self._rows if row.output.stopped]:
            self._leave(stopped)
        row = self._reading = self._reading or self._next()
        if row:
            try:
                if row.is_alone:
                    self._answer_alone(row)
                else:
                    self._read(row)
            except BaseException as error:  # noqa: BLE001 - as above
                self._reading = None
                self._end(row, error)
        if self._rows:
            self._step()

    def _next(self) -> _Row | None:
        """Who is to begin now: in the order of coming, and nobody past one that goes alone."""
        with self._changed:
            if not self._waiting:
                return None
            row = self._waiting[0]
            if len(self._rows) >= (1 if row.is_alone else self._max_rows):
                return None
            row.is_taken = True
            return self._waiting.popleft()

    def _open(self, row: _Row, passage: Passage) -> None:
        text = TextStream(self._decode, row.job.sampling.stop)
        row.passage = passage
        row.stream = AnswerStream(row.output, text, self._ending_ids(), passage)
        row.read_tokens = passage.cached_tokens
        row.room_tokens = min(
            row.job.sampling.max_tokens, self._context_tokens - passage.prompt_tokens
        )
        row.is_open = True

    def _answer_alone(self, row: _Row) -> None:
        self._open(row, self._passages.open(row.prompt, row.job))
        answer_alone(
            self._model,
            row.passage,
            row.job.sampling,
            row.stream,
            watch=self._watch,
            max_tokens=row.room_tokens,
            ending_ids=self._ending_ids(),
            output=row.output,
        )
        self._reading = None
        self._end(row, layers=row.passage.layers)

    def _read(self, row: _Row) -> None:
        """A part of the prompt while others answer, else all of it; then the first token."""
        import torch

        if not row.is_open:
            self._open(row, self._passages.open(row.prompt, row.job))
        total = row.passage.prompt_tokens
        until = min(total, row.read_tokens + _PROMPT_STEP_TOKENS) if self._rows else total
        part = torch.tensor([row.prompt.ids[row.read_tokens : until]], device=self._model.device)
        made: Any = None  # stays so where the pass is interrupted
        with self._watch.over(row.output, read_tokens=row.read_tokens, prompt_tokens=total):
            if not row.output.stopped:
                made = self._model(
                    input_ids=part,
                    past_key_values=row.passage.cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
        row.read_tokens = until
        if made is not None and until < total:
            return
        self._reading = None
        if made is not None:
            row.chooser = Chooser(
                row.job.sampling,
                row.prompt.ids,
                max_tokens=row.room_tokens,
                device=self._model.device,
            )
            self._choose(row, made.logits[0, -1].float())
            if not self._is_over(row):
                self._cache.join(row.passage.layers)
                row.passage.cache = None  # the batch has a copy
                self._rows.append(row)
                return
        self._end(row, layers=row.passage.layers)

    def _step(self) -> None:
        try:
            scores = self._cache.step(self._model, [row.passage.ids[-1] for row in self._rows])
        except BaseException as error:  # noqa: BLE001 - as above
            broken = list(self._rows)
            if is_out_of_memory(error):  # the others may fit without the longest
                lengths = self._cache.lengths
                broken = [self._rows[lengths.index(max(lengths))]]
            for row in broken:
                self._leave(row, error)
        else:
            for row, own in zip(list(self._rows), scores, strict=True):
                self._go_on(row, own)

    def _go_on(self, row: _Row, scores: Any) -> None:
        try:
            self._choose(row, scores)
        except BaseException as error:  # noqa: BLE001 - as above; the others go on
            self._leave(row, error)
        else:
            if self._is_over(row):
                self._leave(row)

    def _choose(self, row: _Row, scores: Any) -> None:
        row.stream.take(row.chooser.choose(scores))

    def _is_over(self, row: _Row) -> bool:
        answered = len(row.passage.ids) - row.passage.prompt_tokens
        return answered >= row.room_tokens or row.stream.is_over

    def _leave(self, row: _Row, error: BaseException | None = None) -> None:
        index = self._rows.index(row)
        layers: Layers = []
        if error is None and row.passage.is_kept:
            try:
                layers = self._cache.row(index)
            except Exception as failed:
                if not is_out_of_memory(failed):
                    raise
                self._passages.clear()  # the answer is whole: only its states are not kept
        self._cache.leave(index)
        last = self._rows.pop()
        if last is not row:
            self._rows[index] = last
        self._end(row, error, layers=layers)

    def _end(
        self, row: _Row, error: BaseException | None = None, *, layers: Layers | None = None
    ) -> None:
        try:
            if error is None:
                row.generated = row.stream.generated()
                if layers:
                    self._passages.close(row.passage, row.prompt, row.job, layers)
        except BaseException as failed:  # noqa: BLE001 - as above
            error = failed
        row.error = error
        if error and isinstance(told(error), OutOfMemoryError):
            self._passages.clear()  # the next answer may need that memory
        row.over.set()

    def _fail_all(self, error: BaseException) -> None:
        with self._changed:
            gone = [*self._rows, *([self._reading] if self._reading else [])]
            if self._is_closed:
                gone += self._waiting
                self._waiting.clear()
            self._rows, self._reading, self._cache = [], None, RowCache()
        for row in gone:
            row.is_taken = True
            self._end(row, error)


def shares_passes(model: Any, passages: PassageStore) -> bool:
    """Whether rows of different length can go through `model` together."""
    import inspect

    takes = inspect.signature(model.forward).parameters
    return passages.can_be_cut and {"position_ids", "logits_to_keep"} <= takes.keys()

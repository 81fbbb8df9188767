"""The raw llama.cpp baseline as a process that answers when asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from benchmarks.process import Child

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.subject import Subject


class RawProcess:
    """`benchmarks.raw_llamacpp`, loaded; leaving the context ends it."""

    def __init__(self, subject: Subject, *, slots: int = 1) -> None:
        spec = json.dumps({**subject.raw_spec(), "slots": slots})
        self._child = Child("-m", "benchmarks.raw_llamacpp", spec, talks=True)

    def __enter__(self) -> Self:
        try:
            self._read()
        except BaseException:
            self._child.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.end()

    def ask(self, messages: list[list[str]], sampling: dict[str, Any]) -> dict[str, Any]:
        """One answer; see `RawModel.answer`.

        Raises:
            BenchmarkError: It failed or died.
        """
        return self._exchange({"messages": messages, "sampling": sampling})

    def ask_all(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """All of them at once; see `RawModel.answers`.

        Raises:
            BenchmarkError: It failed or died.
        """
        return self._exchange(requests)

    def _exchange(self, asked: Any) -> dict[str, Any]:
        assert self._child.process.stdin
        line = json.dumps(asked) + "\n"
        self._child.process.stdin.write(line.encode())
        self._child.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._child.process.stdout
        line = self._child.process.stdout.readline()
        if not line:
            self._child.fail("the raw baseline ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self._child.fail(answer["error"])
        return answer

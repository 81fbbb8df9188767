"""What a runtime is told of a question."""

from __future__ import annotations

from orion.protocol import Done
from orion.runtime.base import Job
from tests.fakes.bench import Bench, Scripted, generate, generated


class TestJob:
    def test_whose_it_is_and_what_is_everybodys_arrive(self, make_bench):
        """Without them nothing is shared."""
        jobs: list[Job] = []

        def answer(job, output):
            jobs.append(job)
            output.piece("x", 1)
            return generated()

        bench: Bench = make_bench(lambda: Scripted(answer=answer))
        bench.load()
        bench.say(generate("hello", session="key", shared_messages=1))
        bench.until(Done)
        bench.say(generate("hello"))
        bench.until(Done)

        assert [(job.session, job.shared_messages) for job in jobs] == [("key", 1), ("", 0)]

"""Breakers that are put away after each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, settings

from tests.conformance.breaker_support import Bench, MakeBench

# A mutant is found or not; making the example small takes minutes and is of no use then.
settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None)


@pytest.fixture
def bench() -> Iterator[MakeBench]:
    """Makes benches: `bench(failures=2)`."""
    made: list[Bench] = []

    def make(**rules: Any) -> Bench:
        made.append(Bench(**rules))
        return made[-1]

    yield make
    for one in made:
        one.close()

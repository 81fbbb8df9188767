"""What several unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.bench import Bench
from tests.fakes.hall import Hall


@pytest.fixture
def make_hall() -> Iterator[Callable[..., Hall]]:
    made: list[Hall] = []

    def make(**given: Any) -> Hall:
        made.append(Hall(**given))
        return made[-1]

    yield make
    for hall in made:
        hall.close()


@pytest.fixture
def hall(make_hall: Callable[..., Hall]) -> Hall:
    """One place, two slots, room for two more."""
    return make_hall()


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes worker's loops in threads, and ends them."""
    made: list[Bench] = []

    def make(*arguments: Any, **given: Any) -> Bench:
        made.append(Bench(*arguments, **given))
        return made[-1]

    yield make
    for bench in made:
        bench.end()

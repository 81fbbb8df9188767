"""What tests of real processes share."""

from __future__ import annotations

import pytest

from tests.fakes.tiny_model import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny model: imported, quantised and loaded once for the run."""
    return Tiny(tmp_path_factory.mktemp("tiny"))

"""Entry of the Hugging Face Space, and of `make run`."""

from __future__ import annotations

import sys

from orion.errors import OrionError
from orion.serve import serve

if __name__ == "__main__":
    try:
        sys.exit(serve())
    except OrionError as error:
        print(f"orion: error: {error.public_message} [{error.code}]", file=sys.stderr)  # noqa: T201
        sys.exit(1)

"""Entry of the Hugging Face Space, and of `make run`: the same as `orion serve`."""

from __future__ import annotations

import sys

from orion.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))

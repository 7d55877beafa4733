"""`python -m desktop` is `clearcall`."""

from __future__ import annotations

import sys

from desktop.cli import start

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(start())

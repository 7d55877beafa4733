"""Starts `clearcall-train`, see `cli`, or says what it lacks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from service.model.ending import interrupted_if_so

__all__ = ["main", "start"]

_OWN = {"clearcall", "desktop", "service", "trainer"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line, see `trainer.cli`; 2 where the extra `trainer` is not installed."""
    try:
        from trainer.cli import run
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package in _OWN:
            raise
        print(f"clearcall-train needs {package}: pip install 'clearcall[trainer]'", file=sys.stderr)
        return 2
    return run(argv)


def start() -> int:
    """Runs the command line of the process; see `interrupted_if_so`."""
    return interrupted_if_so(main())


if __name__ == "__main__":
    sys.exit(start())

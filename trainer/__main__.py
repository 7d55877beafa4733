"""Starts `clearcall-train`, see `cli`, or says what it lacks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main", "start"]

_EXIT_INTERRUPTED = 130
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
    """Runs the command line of the process. After an interruption the process ends by the signal
    of Ctrl-C, which shells show as 130: one that runs it in a loop then ends its loop, too."""
    code = main()
    if code == _EXIT_INTERRUPTED:
        sys.excepthook = lambda *_: None  # what there is to say has been said
        raise KeyboardInterrupt
    return code


if __name__ == "__main__":
    sys.exit(start())

"""How the process of a command ends."""

from __future__ import annotations

import sys

__all__ = ["EXIT_INTERRUPTED", "interrupted_if_so"]

EXIT_INTERRUPTED = 130  # as shells tell SIGINT


def interrupted_if_so(code: int) -> int:
    """The exit code of a process, but for that of an interruption: the process then ends by the
    signal of Ctrl-C, which shells show as 130, and a shell that runs it in a loop ends its loop.

    Raises:
        KeyboardInterrupt: the code is that of an interruption. Nothing is printed: what there is to
            say has been said.
    """
    if code == EXIT_INTERRUPTED:
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt
    return code

"""How a command that writes files is ended from outside."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["interruptible", "termination_signals"]

_DEAF_S = 10.0


def termination_signals() -> list[signal.Signals]:
    """What asks a program to end, where it is not ignored, as nohup and background jobs have it:
    Ctrl-C, a termination, and a terminal that is closed (not on Windows)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    kinds = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [kind for kind in kinds if signal.getsignal(kind) is not signal.SIG_IGN]


@contextmanager
def interruptible(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """All `termination_signals` are as Ctrl-C within. After the first one no other is heard for ten
    seconds, so that none disturbs its end, nor after it, since the process is to end then.

    In another thread than the main one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.getsignal(kind) for kind in termination_signals()}
    deaf_until_s = -math.inf

    def interrupt(*_: Any) -> None:
        nonlocal deaf_until_s
        if clock() >= deaf_until_s:
            deaf_until_s = clock() + _DEAF_S
            raise KeyboardInterrupt

    for kind in before:
        signal.signal(kind, interrupt)
    try:
        yield
    finally:
        is_over = deaf_until_s > -math.inf
        for kind, handler in before.items():
            signal.signal(kind, signal.SIG_IGN if is_over else handler)

"""How a command that writes files is ended from outside."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["interruptible", "termination_signals"]


def termination_signals() -> list[signal.Signals]:
    """What asks a program to end, where it is not ignored, as nohup and background jobs have it:
    Ctrl-C, a termination, and a terminal that is closed (not on Windows)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    kinds = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [kind for kind in kinds if signal.getsignal(kind) is not signal.SIG_IGN]


@contextmanager
def interruptible() -> Iterator[None]:
    """All `termination_signals` are as Ctrl-C within. After the first one all are ignored, so that
    no second one disturbs its end, and stay so, since the process is to end then.

    In another thread than the main one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = termination_signals()
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def interrupt(*_: Any) -> NoReturn:
        for kind in kinds:
            signal.signal(kind, signal.SIG_IGN)
        before.clear()
        raise KeyboardInterrupt

    for kind in kinds:
        signal.signal(kind, interrupt)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)

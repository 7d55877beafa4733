"""How the kernel schedules threads, kept as it is while a library wants otherwise."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["kept_scheduling"]

_TASKS = "/proc/self/task"


@contextmanager
def kept_scheduling() -> Iterator[None]:
    """Policy and priority of the calling thread, kept for it and for the threads made meanwhile.

    SVT-AV1, opened by root, takes the highest real-time priority for all of them: its encoding then
    starves whatever else the machine does. Elsewhere than on Linux nothing is done.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    others = set(os.listdir(_TASKS)) - {str(threading.get_native_id())}
    try:
        yield
    finally:
        for thread in set(os.listdir(_TASKS)) - others:
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(int(thread), policy, parameters)

"""Threads for the codec, few and bounded: the event loop itself never decodes or encodes.

Their queue needs no bound of its own: frames are bounded by the streams' frames in flight, images
by the engine's places, and both are admitted before they come here.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

__all__ = ["CodecPool", "Timed"]

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """A value, when its making began (in the pool's clock, s) and how long it took."""

    value: T
    started_s: float
    took_ms: float


class CodecPool:
    """Runs codec calls in `threads` threads; times each call, without its wait for a thread."""

    def __init__(
        self, *, threads: int, name: str, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"clearcall-{name}")
        self._clock = clock

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Timed[T]:
        """Calls `function` in a thread. Cancelling the caller drops a call that has not begun."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, _timed, call, self._clock
        )

    def close(self) -> None:
        """Waits for the calls that have begun; drops the others."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _timed(call: Callable[[], T], clock: Callable[[], float]) -> Timed[T]:
    started_s = clock()
    value = call()
    return Timed(value, started_s, (clock() - started_s) * 1000)

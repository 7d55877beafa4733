"""The load that the open streams are, pure: what admission goes by.

A stream's load is the pixels of the frames that it handed to the engine over the last 5 seconds,
divided by 5 s; by its age while it is younger, but never by less than 1 s. Frames that were dropped
before the engine are no load, and a stream that is closed is none from then on. The load is the sum
over the open streams. While it is at the limit or above, nothing new is admitted; what was admitted
stays, and each stream goes on as fast as the machine can.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["WINDOW_S", "Load"]

WINDOW_S = 5.0
_SHORTEST_S = 1.0


@dataclass(slots=True)
class _Stream:
    opened_s: float
    frames: deque[tuple[float, int]] = field(default_factory=deque)  # when, pixels


class Load:
    """The load of all open streams. Called from one thread."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._streams: dict[object, _Stream] = {}

    def open(self, stream: object) -> None:
        """A stream begins."""
        self._streams[stream] = _Stream(self._clock())

    def close(self, stream: object) -> None:
        """A stream ends, and its load with it."""
        self._streams.pop(stream, None)

    def note(self, stream: object, px: int) -> None:
        """An open stream hands a frame to the engine."""
        now_s = self._clock()
        frames = self._streams[stream].frames
        frames.append((now_s, px))
        _forget_old(frames, now_s)

    def px_per_s(self) -> float:
        """The load, in pixels per second."""
        now_s = self._clock()
        load = 0.0
        for stream in self._streams.values():
            _forget_old(stream.frames, now_s)
            over_s = min(max(now_s - stream.opened_s, _SHORTEST_S), WINDOW_S)
            load += sum(px for _, px in stream.frames) / over_s
        return load


def _forget_old(frames: deque[tuple[float, int]], now_s: float) -> None:
    while frames and frames[0][0] <= now_s - WINDOW_S:
        frames.popleft()

"""Places for uploaded images: so many are held decoded, so many more may wait, still encoded."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable

from service.errors import QueueFull

__all__ = ["DECODED_IMAGES", "ImagePlaces"]

DECODED_IMAGES = 2  # one in the network and one ready to follow it
_MAX_RETRY_AFTER_S = 60


class ImagePlaces:
    """Used from one event loop.

    Attributes:
        waiting: images that wait for a place.
        admitted: these, and those that have one.
    """

    def __init__(self, *, max_waiting: int, clock: Callable[[], float]) -> None:
        self.waiting = 0
        self.admitted = 0
        self._max_waiting = max_waiting
        self._clock = clock
        self._places = asyncio.Semaphore(DECODED_IMAGES)
        self._image_s = 1.0  # what an image takes, for Retry-After; a moving average

    def check(self) -> None:
        """Says whether one more would be refused.

        Raises:
            QueueFull: As many as may wait are waiting.
        """
        if self._places.locked() and self.waiting >= self._max_waiting:
            estimate_s = math.ceil(self._image_s * (self.waiting + DECODED_IMAGES))
            raise QueueFull(
                limit=self._max_waiting,
                retry_after_s=min(max(estimate_s, 1), _MAX_RETRY_AFTER_S),
            )

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[float]:
        """Waits for a place, in the order of arrival; yields the wait in ms.

        Raises:
            QueueFull: As many as may wait are waiting.
        """
        self.check()
        arrived_s = self._clock()
        self.admitted += 1
        try:
            self.waiting += 1
            try:
                await self._places.acquire()
            finally:
                self.waiting -= 1
            try:
                yield (self._clock() - arrived_s) * 1000
            finally:
                self._places.release()
        finally:
            self.admitted -= 1

    def note_took(self, time_s: float) -> None:
        """Learns what an image takes."""
        self._image_s = 0.7 * self._image_s + 0.3 * time_s

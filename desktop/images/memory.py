"""How many pixels are in work at a time, so that large pictures do not fill the memory together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from desktop.images.errors import Interrupted

__all__ = ["PixelBudget"]

_LOOK_S = 0.2  # how soon a wait that is to end does


class PixelBudget:
    """Lets pictures in while they have `limit_px` together; a larger one is let in alone."""

    def __init__(self, limit_px: int) -> None:
        self._limit_px = limit_px
        self._used_px = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int, *, stop: threading.Event) -> Iterator[None]:
        """Waits for room, and gives it back at the end.

        Raises:
            Interrupted: `stop` was set meanwhile.
        """
        with self._changed:
            while self._used_px and self._used_px + pixels > self._limit_px:
                if stop.is_set():
                    raise Interrupted
                self._changed.wait(_LOOK_S)
            self._used_px += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used_px -= pixels
                self._changed.notify_all()

"""The only thing between two steps: room for one value. The newest wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

__all__ = ["Slot"]

T = TypeVar("T")


class Slot(Generic[T]):
    """Holds the newest value until it is taken, once. For one taker; thread-safe.

    Attributes:
        replaced: how many values nobody took in time.
    """

    def __init__(self) -> None:
        self.replaced = 0
        self._value: T | None = None
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def is_over(self) -> bool:
        """Whether it is closed and empty: nothing will come any more."""
        with self._changed:
            return self._is_closed and self._value is None

    def put(self, value: T) -> None:
        """Offers a value; it replaces one that waits. Never waits. Closed slots take nothing."""
        with self._changed:
            if self._is_closed:
                return
            self.replaced += self._value is not None
            self._value = value
            self._changed.notify()

    def take(self, timeout_s: float) -> T | None:
        """The newest value, or None if there is none in time or the slot is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._value is not None or self._is_closed, timeout_s)
            value, self._value = self._value, None
            return value

    def close(self) -> None:
        """Takes no more values; what waits can still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

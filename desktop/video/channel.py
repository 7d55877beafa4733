"""A bounded queue between two threads that can be closed from either side.

What is put in waits while the queue is full, so that the slowest stage sets the pace of all.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Channel", "ChannelClosed"]

_Item = TypeVar("_Item")


class ChannelClosed(Exception):
    """The other side will take nothing more."""


class Channel(Generic[_Item]):
    """Items in order, at most `limit` of them waiting."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._is_finished = False
        self._is_closed = False

    def put(self, item: _Item) -> None:
        """Adds an item; waits while the queue is full.

        Raises:
            ChannelClosed: Nobody takes items any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._items) < self._limit)
            if self._is_closed:
                raise ChannelClosed
            self._items.append(item)
            self._changed.notify_all()

    def finish(self) -> None:
        """Says that no item follows."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Throws away what waits, and lets both sides go."""
        with self._changed:
            self._is_closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[_Item]:
        """Takes items until `finish` or `close`.

        Raises:
            ChannelClosed: It was closed.
        """
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closed or self._is_finished or bool(self._items)
                )
                if self._is_closed:
                    raise ChannelClosed
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

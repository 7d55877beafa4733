"""A bounded queue between threads that can be closed from either side.

What is put in waits while the queue is full, so that the slowest stage sets the pace of all. Where
several threads work between two queues, items are numbered when taken and put back in that order.
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
        self._taken = 0
        self._turn = 0
        self._is_finished = False
        self._is_closed = False

    def put(self, item: _Item, *, number: int | None = None) -> None:
        """Adds an item; waits while the queue is full.

        Args:
            item: the item.
            number: of items that have a number, from 0 and each once: waits for those before it.

        Raises:
            ChannelClosed: Nobody takes items any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room(number))
            if self._is_closed:
                raise ChannelClosed
            self._items.append(item)
            self._turn += number is not None
            self._changed.notify_all()

    def take(self) -> tuple[int, _Item] | None:
        """Takes the next item and its number, from 0; None after the last one.

        Raises:
            ChannelClosed: It was closed.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._is_finished or bool(self._items)
            )
            if self._is_closed:
                raise ChannelClosed
            if not self._items:
                return None
            number, item = self._taken, self._items.popleft()
            self._taken += 1
            self._changed.notify_all()
            return number, item

    def __iter__(self) -> Iterator[_Item]:
        """Takes all items; see `take`."""
        while (taken := self.take()) is not None:
            yield taken[1]

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

    def _has_room(self, number: int | None) -> bool:
        return len(self._items) < self._limit and (number is None or number == self._turn)

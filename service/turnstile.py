"""Which stream may take a frame up, pure: when a lane is free, and then the newest that it has.

A frame that is decoded is bound: a newer one cannot replace it any more. So while several streams
have work for the engine, frames wait where they can still be replaced, and one is taken up when a
lane is about to be free. What is delivered is then as old as one turn of the network, however many
streams send however much. A stream that is alone prepares its next frames ahead as before: decoding
and encoding overlap with the network, and no other stream's frame is in its way.

Nothing here locks or reads a clock: it is called from one event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["Turnstile"]


class Turnstile:
    """The frames that are between their taking up and the end of their time in the network."""

    def __init__(self, *, turn: Callable[[Any], Any], room: Callable[[Any], int]) -> None:
        """Args:
        turn: Of a stream: what orders those that wait, the smallest first.
        room: Of a stream: how many frames may be inside, with the one that it takes up, while there
            are several streams.
        """
        self._turn = turn
        self._room = room
        self._inside: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, Callable[[], object]] = {}

    def enter(self, stream: Hashable, wake: Callable[[], object]) -> bool:
        """Lets a frame of a stream in, or remembers to call `wake` when it is its turn.

        Nobody passes those whose turn comes before: a stream that needs all the room would
        otherwise wait for ever beside others that need less.
        """
        is_alone = not (self._waiting.keys() | self._inside.keys()) - {stream}
        if not is_alone and not (self._has_room(stream) and self._is_next(stream)):
            self._waiting[stream] = wake
            return False
        self._waiting.pop(stream, None)
        self._inside[stream] += 1
        return True

    def leave(self, stream: Hashable) -> None:
        """A frame is through, or came to nothing; the next stream is woken."""
        if stream not in self._inside:  # it was forgotten meanwhile
            return
        self._inside[stream] -= 1
        if not self._inside[stream]:
            del self._inside[stream]
        self._wake()

    def forget(self, stream: Hashable) -> None:
        """A stream is over, with all that it had inside."""
        self._waiting.pop(stream, None)
        del self._inside[stream]
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            stream = min(self._waiting, key=self._turn)
            if not self._has_room(stream):
                return
            self._waiting.pop(stream)()

    def _is_next(self, stream: Hashable) -> bool:
        turn = self._turn(stream)
        return all(turn <= self._turn(other) for other in self._waiting)

    def _has_room(self, stream: Hashable) -> bool:
        return self._inside.total() < self._room(stream)

"""What is to be sent next, pure: the newest frame only, and no more on the way than the window.

A frame that is on the way is answered, or known to be lost: by the answer to a later frame, since
answers come in order, or by its age.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass

__all__ = ["Outbox", "Outgoing"]

_SEQUENCE_MODULUS = 2**32
_LOST_AFTER_S = 3.0
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A numbered JPEG and when it was captured, in the caller's seconds."""

    sequence: int
    encoded: bytes
    captured_s: float


class Outbox:
    """Decides which frame goes when. The times are passed in."""

    def __init__(self, window: int) -> None:
        """Args: window: Frames on the way at most."""
        self.window = window
        self.max_fps = 0.0  # what the server takes in a second; 0 = any
        self.max_bytes_per_s = 0.0
        self.replaced = 0  # here, before they were sent
        self.lost = 0  # sent, and never answered
        self._next_sequence = 0
        self._due_s = -math.inf  # not before
        self._waiting: tuple[bytes, float] | None = None
        self._on_the_way: OrderedDict[int, tuple[float, float]] = OrderedDict()
        # The last ones that were counted as lost, and may be answered after all.
        self._given_up: deque[int] = deque(maxlen=_REMEMBERED)

    @property
    def on_the_way(self) -> int:
        """Frames that were sent and are not answered."""
        return len(self._on_the_way)

    @property
    def is_empty(self) -> bool:
        """Whether no frame waits to be sent."""
        return self._waiting is None

    def offer(self, encoded: bytes, captured_s: float) -> None:
        """The newest frame; it takes the place of one that waits."""
        self.replaced += self._waiting is not None
        self._waiting = encoded, captured_s

    def take(self, now_s: float) -> Outgoing | None:
        """The frame to send now, if one waits, the window has room and the server takes it."""
        self._forget_lost(now_s)
        if self._waiting is None or self.wait_s(now_s) > 0:
            return None
        (encoded, captured_s), self._waiting = self._waiting, None
        sequence = self._next_sequence
        self._next_sequence = (sequence + 1) % _SEQUENCE_MODULUS
        self._on_the_way[sequence] = now_s, captured_s
        self._due_s = now_s + max(
            1 / self.max_fps if self.max_fps else 0.0,
            len(encoded) / self.max_bytes_per_s if self.max_bytes_per_s else 0.0,
        )
        return Outgoing(sequence, encoded, captured_s)

    def wait_s(self, now_s: float) -> float:
        """How long until the server's limits let a frame go; for ever where none may go anyway."""
        if self._waiting is None or len(self._on_the_way) >= self.window:
            return math.inf
        return max(0.0, self._due_s - now_s)

    def drop_waiting(self) -> None:
        """The frame that waits is not sent."""
        self.replaced += self._waiting is not None
        self._waiting = None

    def note_answered(self, sequence: int | None) -> float | None:
        """A result or an error came; earlier frames without an answer will get none.

        Returns:
            When the frame was captured, if it is known.
        """
        if sequence is None:
            return None
        if sequence not in self._on_the_way:
            if sequence in self._given_up:
                self._given_up.remove(sequence)
                self.lost -= 1
            return None
        while self._on_the_way:
            number, (_, captured_s) = self._on_the_way.popitem(last=False)
            if number == sequence:
                return captured_s
            self.lost += 1
        return None

    def note_bad(self, sequence: int | None) -> None:
        """An error came: for one frame, which may overtake the answers to earlier ones."""
        if sequence is not None:
            self._on_the_way.pop(sequence, None)

    def note_disconnected(self) -> None:
        """What was on the way will not be answered."""
        self.let_go()
        self._given_up.clear()

    def let_go(self) -> None:
        """What is on the way keeps no place in the window: a pause may have dropped it."""
        self.lost += len(self._on_the_way)
        self._given_up.extend(self._on_the_way)
        self._on_the_way.clear()

    def _forget_lost(self, now_s: float) -> None:
        while self._on_the_way:
            sequence, (sent_s, _) = next(iter(self._on_the_way.items()))
            if now_s - sent_s < _LOST_AFTER_S:
                return
            del self._on_the_way[sequence]
            self._given_up.append(sequence)
            self.lost += 1

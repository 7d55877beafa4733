"""How many results may be on their way to a client, pure.

A client that tells which results it has displayed gets no more than its window of others, so that
no queue of old results builds up in a socket buffer or a browser. Of one that never tells nothing
is known, and nothing is held back.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Credit"]

_MAX_SENT = 256
# An acknowledgement that does not come, because the client could not show what it got, must not
# hold the stream up for good.
_FORGIVEN_AFTER_S = 2.0


class Credit:
    """The results that were sent and not yet acknowledged."""

    def __init__(self) -> None:
        self.is_kept = False  # whether the client acknowledges
        self._sent: deque[tuple[int, float]] = deque(maxlen=_MAX_SENT)

    def unacknowledged(self, now_s: float) -> int:
        """How many results are on their way; 0 where the client does not acknowledge."""
        if not self.is_kept:
            return 0
        while self._sent and now_s - self._sent[0][1] >= _FORGIVEN_AFTER_S:
            self._sent.popleft()
        return len(self._sent)

    def note_sent(self, sequence: int, now_s: float) -> None:
        """A result goes out."""
        self._sent.append((sequence, now_s))

    def note_displayed(self, sequence: int) -> None:
        """The client shows a result: it and those before it have arrived."""
        self.is_kept = True
        for at in reversed(range(len(self._sent))):
            if self._sent[at][0] == sequence:
                for _ in range(at + 1):
                    self._sent.popleft()
                return

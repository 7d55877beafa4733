"""What became of a stream's frames, pure: received = answered + dropped by reason + in work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

__all__ = ["BAD_REASONS", "DropReason", "Ledger"]

DropReason = Literal[
    "replaced",  # by a newer one, before its turn
    "paused",  # it came while the stream was paused
    "limited",  # over the stream's frame or byte rate
    "invalid",  # not a frame
    "broken",  # a picture that cannot be used
    "failed",  # in the network
    "stopping",  # the service stops
    "disconnected",  # the client left, or was closed, before its answer
]
# A frame of these is answered with an error; of the others, not at all.
BAD_REASONS: tuple[DropReason, ...] = ("invalid", "broken", "failed", "stopping")
_MAX_WIRE_COUNT = 2**32 - 1


class Ledger:
    """Counts each frame that is received, and each exactly once more."""

    def __init__(self, on_drop: Callable[[DropReason, int], None] | None = None) -> None:
        """Args: on_drop: Told of every drop: the reason and how many."""
        self.received = 0
        self.answered = 0
        self.dropped: dict[DropReason, int] = dict.fromkeys(get_args(DropReason), 0)
        self._on_drop = on_drop

    @property
    def in_work(self) -> int:
        """Frames that wait, or are being worked on."""
        return self.received - self.answered - sum(self.dropped.values())

    @property
    def passed_over(self) -> int:
        """Frames that got no answer at all, as a result's header says it: it stops at 2^32 - 1."""
        count = sum(n for reason, n in self.dropped.items() if reason not in BAD_REASONS)
        return min(count, _MAX_WIRE_COUNT)

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Counts frames that get no result."""
        if count:
            self.dropped[reason] += count
            if self._on_drop is not None:
                self._on_drop(reason, count)

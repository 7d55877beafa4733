"""Times that jump: damage where the next time goes back, and a gap in the recording where not."""

from __future__ import annotations

from fractions import Fraction
from typing import Generic, TypeVar

__all__ = ["MOST_BACK_S", "JumpFilter"]

T = TypeVar("T")

MOST_BACK_S = 1  # times may go back by so much: what is more is damage or another recording
_MOST_AHEAD_S = 10


class JumpFilter(Generic[T]):
    """Holds an item of one stream back where its time jumps, until the next one's is known.

    A bit that is wrong in one time would else stretch a video by hours.

    Attributes:
        left_out: how many items had a damaged time.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._last_s: Fraction | None = None
        self._held: tuple[T, Fraction] | None = None

    def passed(self, item: T, time_s: Fraction) -> list[T]:
        """What goes on now, in order: nothing, the item, or the one held back and the item."""
        before: list[T] = []
        if self._held is not None:
            held, held_s = self._held
            self._held = None
            if self._is_damaged(held_s, time_s):
                self.left_out += 1
            else:
                before, self._last_s = [held], held_s
        if self._last_s is not None and not (
            -MOST_BACK_S <= time_s - self._last_s <= _MOST_AHEAD_S
        ):
            self._held = item, time_s
            return before
        self._last_s = time_s
        return [*before, item]

    def rest(self) -> list[T]:
        """What is held back still, when no more comes."""
        held, self._held = self._held, None
        return [] if held is None else [held[0]]

    def _is_damaged(self, held_s: Fraction, next_s: Fraction) -> bool:
        assert self._last_s is not None, "the first is not held back"
        if held_s > self._last_s:
            return held_s - next_s > MOST_BACK_S
        return self._last_s - next_s <= MOST_BACK_S

"""A clip of any length, each frame fused with its neighbours, in windows.

The frames of a window are fused from its last one to its first. The last ones have little after
them, so they only hand on what they hold, and are fused anew in the next window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from service.model.neighbours import Shot

if TYPE_CHECKING:
    from service.model.fusion import Fusion

__all__ = ["MOST_LOOK_AHEAD", "LookAhead"]

ImageArray = npt.NDArray[np.uint8]

MOST_LOOK_AHEAD = 3  # more adds next to nothing
_FEWEST_LEAVING, _MOST_LEAVING = 12, 36  # frames of a window that leave it at once
_HELD_BYTES = 2**28  # of frames, about; the fewest may have more


class LookAhead:
    """Frames in, as many fused frames out, later and in their order."""

    def __init__(self, fusion: Fusion, look_ahead: int, *, amount: float = 1.0) -> None:
        """Args:
        look_ahead: at least so many frames after each are fused with it, where there are as many.
        amount: of what is added, 0 to 1.
        """
        self._fusion = fusion
        self._amount = amount
        self._look_ahead = look_ahead
        self._leaving = _MOST_LEAVING
        self._shots: list[Shot | None] = []
        self._before: Shot | None = None  # the last one that left

    def add(self, shot: Shot | None) -> Sequence[ImageArray | None]:
        """Takes the next frame; None where there is nothing to fuse.

        Returns:
            (H, W, 3) uint8 RGB of the frames that are done now, none or many; None for None.

        Raises:
            ValueError: its size is not that of the frames before.
        """
        self._shots.append(shot)
        if shot is not None:
            held = _HELD_BYTES // (shot.image.nbytes + shot.sharpened.nbytes)
            self._leaving = min(max(held, _FEWEST_LEAVING), _MOST_LEAVING)
        is_full = len(self._shots) >= self._leaving + self._look_ahead
        return self._fused(self._leaving) if is_full else ()

    def finish(self) -> Sequence[ImageArray | None]:
        """The frames that are left."""
        return self._fused(len(self._shots))

    def _fused(self, leaving: int) -> Sequence[ImageArray | None]:
        done: list[ImageArray | None] = []
        waiting = len(self._shots) - leaving
        backwards = self._fusion.fuse_backwards(self._shots, before=self._before)
        for number, fused in enumerate(backwards):
            if number >= waiting:
                done.append(None if fused is None else fused.picture(self._amount))
        if leaving:
            self._before = self._shots[leaving - 1]
            del self._shots[:leaving]
        return done[::-1]

"""A clip of any length fused with what comes after each frame, in windows.

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
_LEAVING = 12  # frames of a window that leave it at once


class LookAhead:
    """Frames in, as many fused frames out, later and in their order.

    Attributes:
        window: most frames that are held.
    """

    def __init__(self, fusion: Fusion, look_ahead: int, *, amount: float = 1.0) -> None:
        """Args:
        look_ahead: at least so many frames after each are fused with it, where there are as many.
        amount: of what is added, 0 to 1.
        """
        self._fusion = fusion
        self._amount = amount
        self.window = _LEAVING + look_ahead
        self._shots: list[Shot | None] = []

    def add(self, shot: Shot | None) -> Sequence[ImageArray | None]:
        """Takes the next frame; None where there is nothing to fuse.

        Returns:
            (H, W, 3) uint8 RGB of the frames that are done now, none or many; None for None.

        Raises:
            ValueError: its size is not that of the frames before.
        """
        self._shots.append(shot)
        return self._fused(_LEAVING) if len(self._shots) == self.window else ()

    def finish(self) -> Sequence[ImageArray | None]:
        """The frames that are left."""
        return self._fused(len(self._shots))

    def _fused(self, leaving: int) -> Sequence[ImageArray | None]:
        done: list[ImageArray | None] = []
        waiting = len(self._shots) - leaving
        for number, fused in enumerate(self._fusion.fuse_backwards(self._shots)):
            if number >= waiting:
                done.append(None if fused is None else fused.picture(self._amount))
        del self._shots[:leaving]
        return done[::-1]

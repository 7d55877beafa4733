"""A sharpened frame beside its neighbours, which are moved to where its things are.

Those after it are fused already and hold what comes after them; the one before is sharpened alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from service.model.alignment import Luma, luma, motion, moved

__all__ = [
    "LARGEST_DIFFERENCE",
    "NEIGHBOURS",
    "PLANES",
    "Fused",
    "Shot",
    "beside_neighbours",
    "luma_levels",
]

NEIGHBOURS = (1, 2, -1)  # places in the clip, from the frame that is fused
PLANES = 2 + 3 * len(NEIGHBOURS)  # that the network sees
LARGEST_DIFFERENCE = 64.0  # levels of 255; more is another thing
_OTHER_COLOUR = (8.0, 16.0)  # levels: from the first on less is taken, from the second on nothing
_COLOUR_WINDOW = (5, 5)  # px
_OTHER_LUMA = (4.0, 8.0)  # levels, as above
_LUMA_WINDOW = (15, 15)  # px: over so many a codec keeps the mean, and text is as bright as text

ImageArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


def luma_levels(levels: FloatArray) -> FloatArray:
    """(H, W, 3) fp32 RGB in levels of 255 -> (H, W) fp32, BT.601."""
    return cast(FloatArray, cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY))


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame as it came and sharpened, both (H, W, 3) uint8 RGB."""

    image: ImageArray
    sharpened: ImageArray


@dataclass(frozen=True, slots=True)
class Fused:
    """A sharpened frame with what its neighbours hold, or nothing yet.

    Attributes:
        seen: luma of the frame as it came, (H, W) uint8.
        lumas: of the sharpened frame and of the one that came, (H, W, 2) fp32 in levels of 255.
        sharpened: (H, W, 3) fp32 RGB in levels of 255, before it was fused.
        levels: (H, W, 3) fp32 RGB in levels of 255.
    """

    seen: Luma
    lumas: FloatArray
    sharpened: FloatArray
    levels: FloatArray

    @classmethod
    def alone(cls, shot: Shot) -> Fused:
        """A frame that has nothing of any other."""
        seen = luma(shot.image)
        sharpened: FloatArray = shot.sharpened.astype(np.float32)
        lumas = cv2.merge([luma_levels(sharpened), seen.astype(np.float32)])
        return cls(seen, cast(FloatArray, lumas), sharpened, sharpened)

    def picture(self, amount: float = 1.0) -> ImageArray:
        """(H, W, 3) uint8 RGB with so much of what was added, 0 to 1."""
        levels = (
            self.levels
            if amount == 1
            else cv2.addWeighted(self.sharpened, 1 - amount, self.levels, amount, 0)
        )
        return cast(ImageArray, cv2.convertScaleAbs(levels))  # rounded; none is below 0


def beside_neighbours(
    frame: Fused, neighbours: Sequence[Fused | None]
) -> tuple[FloatArray, FloatArray]:
    """What `FusionNetwork` sees, and what its weights are for.

    Args:
        frame: alone so far; sides of at least `alignment.SMALLEST_SIDE_PX`.
        neighbours: of the same size, in the order of `NEIGHBOURS`; None where there is none.

    Returns:
        The network's planes (2 + 3 K, H, W) fp32, and the differences of the moved
        neighbours and the sharpened frame, (K, H, W, 3) fp32 in levels, cut to
        `LARGEST_DIFFERENCE`, and less where another thing is seen: another colour, or brighter or
        darker all around, as after a cut.
    """
    height, width = frame.seen.shape
    planes = np.empty((2 + 3 * len(neighbours), height, width), np.float32)
    differences = np.empty((len(neighbours), height, width, 3), np.float32)
    sharpened, seen = cv2.split(frame.lumas)
    planes[0] = sharpened
    np.subtract(seen, sharpened, out=planes[1])
    for number, neighbour in enumerate(neighbours):
        fused, gathered, came = planes[2 + 3 * number : 5 + 3 * number]
        if neighbour is None:
            planes[2 + 3 * number : 5 + 3 * number] = 0
            differences[number] = 0
            continue
        by = motion(frame.seen, neighbour.seen)
        difference, lumas = moved([neighbour.levels, neighbour.lumas], by)
        difference -= frame.sharpened
        own, came_luma = cv2.split(lumas)
        cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY, dst=fused)
        np.add(fused, sharpened, out=gathered)
        gathered -= own
        np.subtract(came_luma, seen, out=came)
        np.clip(difference, -LARGEST_DIFFERENCE, LARGEST_DIFFERENCE, out=differences[number])
        _leave_other_colours(differences[number], difference, fused)
        away = np.maximum(*(np.abs(cv2.blur(one, _LUMA_WINDOW)) for one in (came, fused)))
        _leave_less(differences[number], away, _OTHER_LUMA)
    return planes, differences


def _leave_other_colours(limited: FloatArray, difference: FloatArray, gray: FloatArray) -> None:
    """Takes nothing where the colour is another one: the network sees luma alone.

    Args:
        limited: what is changed.
        difference: before it was cut, (H, W, 3) fp32 RGB.
        gray: its luma.
    """
    red, _, blue = cv2.split(difference)
    away = np.maximum(*(np.abs(cv2.blur(one - gray, _COLOUR_WINDOW)) for one in (red, blue)))
    _leave_less(limited, away, _OTHER_COLOUR)


def _leave_less(limited: FloatArray, away: FloatArray, limits: tuple[float, float]) -> None:
    """Less from the first limit on, nothing from the second on, of (H, W, 3) by (H, W)."""
    lowest, highest = limits
    if away.max() > lowest:
        share = np.clip((highest - away) / (highest - lowest), 0, 1)
        limited *= share[:, :, None]

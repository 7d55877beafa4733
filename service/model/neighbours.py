"""A sharpened frame beside its neighbours, which are moved to where its things are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.model.alignment import luma, motion, moved

__all__ = [
    "LARGEST_DIFFERENCE",
    "MOST_LOOK_AHEAD",
    "NEIGHBOURS",
    "Shot",
    "around",
    "beside_neighbours",
    "luma_levels",
]

NEIGHBOURS = (-1, 1, 2, 3)  # frames from the one that is fused
MOST_LOOK_AHEAD = max(NEIGHBOURS)
LARGEST_DIFFERENCE = 32.0  # levels of 255; more is another thing

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # BT.601

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame as it came and sharpened, both (H, W, 3) uint8 RGB."""

    image: npt.NDArray[np.uint8]
    sharpened: npt.NDArray[np.uint8]


def around(
    shots: Sequence[Shot | None], at: int, *, look_ahead: int = MOST_LOOK_AHEAD
) -> list[Shot | None]:
    """The neighbours of frame `at`, in the order of `NEIGHBOURS`; None where there is none.

    Args:
        shots: of one clip, one after the other.
        look_ahead: frames after it that are taken.
    """
    return [
        shots[at + offset] if 0 <= at + offset < len(shots) and offset <= look_ahead else None
        for offset in NEIGHBOURS
    ]


def luma_levels(image: npt.NDArray[Any]) -> FloatArray:
    """(..., 3) RGB in levels of 255 -> (...) fp32, BT.601."""
    levels: FloatArray = image.astype(np.float32) @ _LUMA
    return levels


def beside_neighbours(
    shot: Shot, neighbours: Sequence[Shot | None]
) -> tuple[FloatArray, FloatArray]:
    """What `FusionNetwork` sees, and what its weights are for.

    Args:
        shot: sides of at least `alignment.SMALLEST_SIDE_PX`.
        neighbours: of the same size, in the order of `NEIGHBOURS`; None where there is none.

    Returns:
        The network's planes (2 + 2 K, H, W) fp32, and the differences of the moved sharpened
        neighbours and the sharpened frame, (K, H, W, 3) fp32 in levels, cut to
        `LARGEST_DIFFERENCE`.
    """
    height, width = shot.image.shape[:2]
    count = len(neighbours)
    planes = np.zeros((2 + 2 * count, height, width), np.float32)
    differences = np.zeros((count, height, width, 3), np.float32)
    sharpened = shot.sharpened.astype(np.float32)
    seen = luma(shot.image)
    planes[0] = luma_levels(sharpened)
    planes[1] = luma_levels(shot.image) - planes[0]
    for number, neighbour in enumerate(neighbours):
        if neighbour is None:
            continue
        neighbour_luma = luma(neighbour.image)
        by = motion(seen, neighbour_luma)
        difference = moved(neighbour.sharpened.astype(np.float32), by) - sharpened
        planes[2 + number] = luma_levels(difference)
        planes[2 + count + number] = moved(neighbour_luma.astype(np.float32), by) - seen
        np.clip(difference, -LARGEST_DIFFERENCE, LARGEST_DIFFERENCE, out=differences[number])
    return planes, differences

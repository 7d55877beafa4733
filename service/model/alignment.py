"""Where the things of one frame are in another frame of its clip, and that frame moved to fit.

Dense motion by dense inverse search (Kroeger et al., Fast Optical Flow using Dense Inverse Search,
ECCV 2016), as OpenCV has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["SMALLEST_SIDE_PX", "Motion", "luma", "motion", "moved"]

Luma = npt.NDArray[np.uint8]
Motion = npt.NDArray[np.float32]

SMALLEST_SIDE_PX = 32  # the search needs patches at a coarser scale


def luma(image: npt.NDArray[np.uint8]) -> Luma:
    """(H, W, 3) uint8 RGB -> (H, W) uint8, BT.601."""
    return cast(Luma, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def motion(at: Luma, other: Luma) -> Motion:
    """How far each thing of `at` is from its place in `other`: (H, W, 2) fp32 px, across and down.

    Args:
        at, other: (H, W) uint8, sides of at least `SMALLEST_SIDE_PX`.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return cast(Motion, search.calc(at, other, cast(Any, None)))


def moved(images: Sequence[npt.NDArray[Any]], by: Motion) -> list[npt.NDArray[Any]]:
    """Images (H, W) or (H, W, C), uint8 or fp32, with their things where the other frame has them.

    Bicubic; beyond the border its pixels are repeated.
    """
    height, width = by.shape[:2]
    places = np.empty_like(by)
    np.add(by[:, :, 0], np.arange(width, dtype=np.float32), out=places[:, :, 0])
    np.add(by[:, :, 1], np.arange(height, dtype=np.float32)[:, None], out=places[:, :, 1])
    nothing = cast(Any, None)
    return [
        cv2.remap(image, places, nothing, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        for image in images
    ]

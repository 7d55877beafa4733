"""Before and after in one picture, side by side or, where it is wide, one above the other; pure."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from service.codec import Picture
from service.metadata import NO_METADATA
from service.scaling import scaled_to

__all__ = ["compared"]

_LINE_PX = 4
_LONGEST_SIDE_PX = 16_000  # every format can hold it


def compared(before: Picture, after: Picture) -> Picture:
    """Before on the left or above, after on the right or below, a white line between.

    Args:
        before: Of any size; it is scaled to that of `after`, so that both show the same.
        after: With the colour profile that both have.

    Returns:
        A picture of 8 bits without metadata, no side of it longer than 16000 px.
    """
    height, width = after.image.shape[:2]
    is_stacked = width > 2 * height
    high, wide = (2 * height + _LINE_PX, width) if is_stacked else (height, 2 * width + _LINE_PX)
    scale = min(1.0, _LONGEST_SIDE_PX / max(high, wide))
    size_px = max(1, int(height * scale)), max(1, int(width * scale))
    pair = [_side(each.image, size_px) for each in (before, after)]
    alphas = [_side(each.alpha, size_px) for each in (before, after) if each.alpha is not None]
    return replace(
        after,
        image=_joined(pair, is_stacked=is_stacked),
        alpha=_joined(alphas, is_stacked=is_stacked) if len(alphas) == 2 else None,
        metadata=NO_METADATA,
        deep=None,
        gain_map=None,
    )


def _side(image: npt.NDArray[np.uint8], size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    if image.shape[0] <= size_px[0] and image.shape[1] <= size_px[1]:
        return scaled_to(image, size_px)
    smaller: npt.NDArray[np.uint8] = np.asarray(
        cv2.resize(image, size_px[::-1], interpolation=cv2.INTER_AREA), np.uint8
    )
    return smaller


def _joined(pair: list[npt.NDArray[np.uint8]], *, is_stacked: bool) -> npt.NDArray[np.uint8]:
    axis = 0 if is_stacked else 1
    shape = list(pair[0].shape)
    shape[axis] = _LINE_PX
    return np.concatenate([pair[0], np.full(shape, 255, np.uint8), pair[1]], axis=axis)

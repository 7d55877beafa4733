"""A picture into a rectangle of another shape, its aspect kept."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import cv2
import numpy as np

from desktop.camera.frames import ImageArray

__all__ = ["Fit", "fitted"]

Fit: TypeAlias = Literal["letterbox", "crop"]


def fitted(image: ImageArray, size: tuple[int, int], fit: Fit) -> ImageArray:
    """Scales a picture into a size.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        size: (height, width) of the result.
        fit: `letterbox` shows all of the picture between black bars; `crop` fills the size and
            cuts equally at both sides.

    Returns:
        (height, width, 3), C-contiguous; the image itself where it has the size.
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    ratios = height / image.shape[0], width / image.shape[1]
    ratio = min(ratios) if fit == "letterbox" else max(ratios)
    inner = [max(1, round(side * ratio)) for side in image.shape[:2]]
    filtering = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    scaled: Any = cv2.resize(image, (inner[1], inner[0]), interpolation=filtering)
    down, right = (inner[0] - height) // 2, (inner[1] - width) // 2
    if fit == "crop":
        down, right = max(0, down), max(0, right)
        return np.ascontiguousarray(scaled[down : down + height, right : right + width])
    framed = np.zeros((height, width, 3), np.uint8)
    framed[-down : -down + inner[0], -right : -right + inner[1]] = scaled[:height, :width]
    return framed

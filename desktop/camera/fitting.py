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
    if fit == "crop":
        image = _cropped(image, height / width)
        return _scaled(image, height, width)
    ratio = min(height / image.shape[0], width / image.shape[1])
    inner = [max(1, round(side * ratio)) for side in image.shape[:2]]
    down, right = (height - inner[0]) // 2, (width - inner[1]) // 2
    framed = np.zeros((height, width, 3), np.uint8)
    framed[down : down + inner[0], right : right + inner[1]] = _scaled(image, *inner)
    return framed


def _cropped(image: ImageArray, aspect: float) -> ImageArray:
    """The middle of an image, as large as it goes, with height / width = aspect."""
    height, width = image.shape[:2]
    inner_height = min(height, max(1, round(width * aspect)))
    inner_width = min(width, max(1, round(height / aspect)))
    down, right = (height - inner_height) // 2, (width - inner_width) // 2
    return image[down : down + inner_height, right : right + inner_width]


def _scaled(image: ImageArray, height: int, width: int) -> ImageArray:
    is_smaller = height < image.shape[0] or width < image.shape[1]
    filtering = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    scaled: Any = cv2.resize(image, (width, height), interpolation=filtering)
    return scaled  # type: ignore[no-any-return]

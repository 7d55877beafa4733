"""Colours under transparency, so that what nobody sees does not reach what is seen; pure.

A network looks some pixels far, and judges a picture's blur by all of it: a contour against black
or white that nobody sees is sharp, so that next to it a blurred picture would be left as it is.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["with_hidden_colours_filled"]

_SMOOTHING_PX, _SMOOTHINGS = 1.5, 3

Samples = TypeVar("Samples", bound=npt.NDArray[Any])


def with_hidden_colours_filled(image: Samples, alpha: npt.NDArray[Any]) -> Samples:
    """Gives fully transparent pixels the colours of the nearest ones that show, smoothed.

    Args:
        image: (H, W, 3) RGB, uint8 or uint16, not premultiplied; it is not changed.
        alpha: (H, W), of the same type.

    Returns:
        An image of the same shape and type; the same image where all of it or nothing shows.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return image
    # For each pixel, which of those that show is nearest; they are numbered from 1 on.
    _, nearest = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.empty((int(nearest.max()) + 1, 3), image.dtype)
    colours[nearest[~hidden]] = image[~hidden]
    filled: Any = image.copy()
    filled[hidden] = colours[nearest[hidden]]
    for _ in range(_SMOOTHINGS):
        filled[hidden] = cv2.GaussianBlur(filled, (0, 0), _SMOOTHING_PX)[hidden]
    return filled  # type: ignore[no-any-return]

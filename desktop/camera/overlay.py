"""Text on a picture: the figures of a camera session."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from desktop.camera.frames import ImageArray

__all__ = ["with_caption"]

_LINES_IN_A_PICTURE = 24
_MIN_LINE_PX = 14
_HERSHEY_PX = 30  # a line of OpenCV's Hershey letters at scale 1
_WHITE, _DARK = (255, 255, 255), (0, 0, 0)
# The same letters moved: in OpenCV 5 thicker ones are wider too.
_OUTLINE = tuple((across, down, _DARK) for across in (-1, 1) for down in (-1, 1))


def with_caption(image: ImageArray, lines: Sequence[str]) -> ImageArray:
    """A copy with lines of ASCII text at the upper left, white with a dark outline.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        lines: From the top down.
    """
    drawn = image.copy()
    line_px = max(_MIN_LINE_PX, image.shape[0] // _LINES_IN_A_PICTURE)
    scale = line_px / _HERSHEY_PX
    for number, line in enumerate(lines, 1):
        for across, down, colour in (*_OUTLINE, (0, 0, _WHITE)):
            at = (line_px // 2 + across, number * line_px + down)
            cv2.putText(drawn, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return drawn

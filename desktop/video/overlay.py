"""What is drawn into frames: a line of text, and the line between before and after.

Drawn into the YUV planes, upright as the picture is shown.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av import VideoFrame

from desktop.video.colour import Colour, planes_of

__all__ = ["Overlay", "before_half"]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_NOTHING, _BLACK, _WHITE = 0, 1, 255
_TEXT_SHARE = 1 / 20  # of the shorter side, in height
_FONT_PX = 22  # of capital letters at scale 1


def before_half(height: int, width: int, quarter_turns: int) -> tuple[slice, slice]:
    """Rows and columns of the half that is at the left when the picture is shown.

    Args:
        height, width: of the picture as it is stored, in px.
        quarter_turns: counter-clockwise, from there to how it is shown.
    """
    halves = np.rot90(np.array([[1, 0], [1, 0]]), -quarter_turns)
    everything = slice(None)
    if halves[0].all():
        return slice(0, height // 2), everything
    if halves[1].all():
        return slice(height // 2, None), everything
    if halves[:, 0].all():
        return everything, slice(0, width // 2)
    return everything, slice(width // 2, None)


class Overlay:
    """Draws into frames of one size; what it drew last is kept until the text changes."""

    def __init__(self, height: int, width: int, quarter_turns: int, *, has_line: bool) -> None:
        """For frames of (height, width) px as stored; see `before_half` for the turns."""
        self._turns = quarter_turns
        self._shown_px = (width, height) if quarter_turns % 2 else (height, width)
        self._has_line = has_line
        self._text: str | None = None
        self._ink: npt.NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._place = (slice(0), slice(0))

    def draw(self, frame: VideoFrame, colour: Colour, text: str) -> None:
        """Draws the text at the top left, and the line, into a writable frame."""
        if text != self._text:
            self._prepare(text)
        rows, columns = self._place
        luma, *chroma = planes_of(frame)
        part = luma[rows, columns]
        part[self._ink == _BLACK] = colour.luma_code(0)
        part[self._ink == _WHITE] = colour.luma_code(1)
        for plane in chroma:
            down, across = (round(luma.shape[axis] / plane.shape[axis]) for axis in (0, 1))
            ink = self._ink[::down, ::across] != _NOTHING
            part = plane[rows.start // down :, columns.start // across :]
            part = part[: ink.shape[0], : ink.shape[1]]
            part[ink[: part.shape[0], : part.shape[1]]] = colour.neutral_code

    def _prepare(self, text: str) -> None:
        self._text = text
        height, width = self._shown_px
        shown: Any = np.full((height, width), _NOTHING, np.uint8)
        scale = max(0.45, min(height, width) * _TEXT_SHARE / _FONT_PX)
        thickness = max(1, round(scale * 1.5))
        margin = round(_FONT_PX * scale)
        at = (margin // 2, margin // 2 + margin)
        cv2.putText(shown, text, at, _FONT, scale, _WHITE, thickness, cv2.LINE_8)
        border = 2 * max(1, round(scale)) + 1
        shown[shown < _WHITE // 2] = _NOTHING  # edges are drawn smooth
        shown[shown != _NOTHING] = _WHITE
        is_near = cv2.dilate(shown, np.ones((border, border), np.uint8)) != _NOTHING
        shown[is_near & (shown == _NOTHING)] = _BLACK
        if self._has_line:
            wide = max(2, width // 640)
            shown[:, width // 2 - wide // 2 : width // 2 + (wide + 1) // 2] = _WHITE
        stored = np.rot90(shown, -self._turns)
        rows, columns = np.flatnonzero(stored.any(axis=1)), np.flatnonzero(stored.any(axis=0))
        if not len(rows):
            self._ink, self._place = stored[:0, :0], (slice(0, 0), slice(0, 0))
            return
        # Begins at an even place, so that halved chroma lies under it.
        top, left = rows[0] // 2 * 2, columns[0] // 2 * 2
        self._place = slice(int(top), int(rows[-1]) + 1), slice(int(left), int(columns[-1]) + 1)
        self._ink = np.ascontiguousarray(stored[self._place])

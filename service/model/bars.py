"""Bars of one colour around a picture: letterboxes, pillarboxes, frames; pure.

A picture is described as a whole, and the contour of a bar is the one sharp thing in a blurred one:
with it, little would be sharpened. So the picture between the bars is taken as a picture of its
own, and the bars stay what they are.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bars", "bars_around"]

ImageArray = npt.NDArray[np.uint8]

_LEAST_PX = 4
_EVEN_LEVELS = 4  # by which a bar may vary
_RINGING_PX = 16  # where codecs leave traces of the picture in a bar
_RINGING_LEVELS = 30
_STEP_PX = 2  # over which a contour may be soft
_STEP_SHARE = 0.3  # of the pixels beside a bar that have another colour
_GRID_PX = 8  # of JPEG's blocks: pictures are sharpened by where they lie on it
_AT_ONCE = 64  # rows


@dataclass(frozen=True, slots=True)
class Bars:
    """Their depths in px."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the picture between them."""
        rows = slice(self.top, -self.bottom or None)
        return rows, slice(self.left, -self.right or None)

    def is_near(self, other: Bars) -> bool:
        """Whether they are the same but for what a codec does to a contour."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(abs(one - two) <= _GRID_PX and bool(one) == bool(two) for one, two in pairs)

    def without(self, image: ImageArray) -> ImageArray:
        """The picture between them; what else is on the first block of 8 px repeats its edge."""
        above, before = self.top % _GRID_PX, self.left % _GRID_PX
        edges = ((above, 0), (before, 0), (0, 0))
        return np.pad(image[self.inside], edges, mode="edge")

    def around(self, image: ImageArray, sharpened: ImageArray) -> ImageArray:
        """A picture with what became of what is `without` them."""
        whole = image.copy()
        whole[self.inside] = sharpened[self.top % _GRID_PX :, self.left % _GRID_PX :]
        return whole


def bars_around(image: ImageArray) -> Bars | None:
    """The bars around (H, W, 3) uint8; None = there are none, or nothing is between them."""
    top, bottom = _depth(image), _depth(image[::-1])
    columns = image[top : len(image) - bottom].transpose(1, 0, 2)
    bars = Bars(top, bottom, _depth(columns), _depth(columns[::-1]))
    return bars if bars != Bars() else None


def _depth(rows: ImageArray) -> int:
    """How many of the first rows are a bar, less than half of them."""
    colour = rows[0, 0].astype(np.int16)
    if _away(rows[:1], colour).max() > _EVEN_LEVELS:
        return 0
    most = len(rows) // 2 - 1
    largest = np.empty(0, np.int16)
    for start in range(0, most, _AT_ONCE):
        away = _away(rows[start : min(start + _AT_ONCE, most)], colour).max(axis=1)
        largest = np.append(largest, away)
        if away.max() > _RINGING_LEVELS:
            break
    if not len(largest) or largest.max() <= _RINGING_LEVELS:
        return 0
    depth = int(np.argmax(largest > _RINGING_LEVELS))
    is_even = largest[: max(1, depth - _RINGING_PX)].max() <= _EVEN_LEVELS
    beside = _away(rows[depth + _STEP_PX], colour) > _RINGING_LEVELS
    is_bar = depth >= _LEAST_PX and is_even and beside.mean() >= _STEP_SHARE
    return depth if is_bar else 0


def _away(pixels: ImageArray, colour: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """By how many levels each pixel's (..., 3) farthest channel differs from a colour."""
    away: npt.NDArray[np.int16] = np.abs(pixels - colour).max(axis=-1)
    return away

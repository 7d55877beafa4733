"""Bars of one colour around a picture: letterboxes, pillarboxes, frames; pure.

A picture is described as a whole, and the contour of a bar is the one sharp thing in a blurred one:
with it, little would be sharpened. So the picture between the bars is taken as a picture of its
own, and the bars stay what they are.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bars", "bars_around", "sides_of_one_colour"]

ImageArray = npt.NDArray[np.uint8]

_LEAST_PX = 4
_EVEN_LEVELS = 4  # by which a bar may vary
_RINGING_PX = 16  # where codecs leave traces of the picture in a bar
_RINGING_LEVELS = 30
_BESIDE_PX = 10  # where a contour is looked at
_STEP_PX = 2  # from a bar to where the picture has certainly begun
_STEP_SHARE = 0.3  # of the pixels there that have another colour
_SHARP_SHARE = 0.55  # of a contour's step from one row to the next: 0.9 and more, 0.25 if blurred
_GRID_PX = 8  # of JPEG's blocks: pictures are sharpened by where they lie on it
_AT_ONCE = 64  # rows
_THINNED = 4  # of so many pixels of a row one is looked at first


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

    def still_fit(self, found: Bars) -> bool:
        """Whether others that were found are these, with what a codec does to a contour: none is
        deeper than what was found, and none by much shallower."""
        pairs = zip(astuple(self), astuple(found), strict=True)
        return all(0 <= now - one <= _GRID_PX and bool(one) == bool(now) for one, now in pairs)

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
    """The bars around (H, W, 3) uint8; None = there are none, or nothing is between them.

    Only those with a sharp contour: one that is blurred as the picture is does not mislead.
    """
    top, bottom = _depth(image), _depth(image[::-1])
    columns = image[top : len(image) - bottom].transpose(1, 0, 2)
    bars = Bars(top, bottom, _depth(columns), _depth(columns[::-1]))
    return bars if bars != Bars() else None


def sides_of_one_colour(image: ImageArray) -> list[bool]:
    """Whether the first and last row and the first and last column may be of a bar."""
    sides = (image[0], image[-1], image[:, 0], image[:, -1])
    return [bool((np.ptp(side, axis=0) <= 2 * _EVEN_LEVELS).all()) for side in sides]


def _depth(rows: ImageArray) -> int:
    """How many of the first rows are a bar, less than half of them."""
    colour = rows[0, 0]
    if _away(rows[:1], colour).max() > _EVEN_LEVELS:
        return 0
    most = _even_rows(rows[: len(rows) // 2 - 1, ::_THINNED], colour)
    if most is None:
        return 0
    largest = _away(rows[: most + 1], colour).max(axis=1)
    depth = int(np.argmax(largest > _RINGING_LEVELS))
    if depth < _LEAST_PX or largest[: max(1, depth - _RINGING_PX)].max() > _EVEN_LEVELS:
        return 0
    beside = _away(rows[depth - 1 : depth + _BESIDE_PX], colour)
    beside = beside.reshape(len(beside), -1, 3).max(axis=2)
    if (beside[1 + _STEP_PX] > _RINGING_LEVELS).mean() < _STEP_SHARE:
        return 0
    means = beside.mean(axis=1)  # of a row, which ringing does not change
    return depth if np.diff(means).max() >= _SHARP_SHARE * means.max() else 0


def _even_rows(rows: ImageArray, colour: npt.NDArray[np.uint8]) -> int | None:
    """How many of the first rows have nothing but a colour and traces; None = all."""
    for start in range(0, len(rows), _AT_ONCE):
        is_other = _away(rows[start : start + _AT_ONCE], colour).max(axis=1) > _RINGING_LEVELS
        if is_other.any():
            return start + int(np.argmax(is_other))
    return None


def _away(rows: ImageArray, colour: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """By how many levels each sample of rows (H, W, 3) differs from a colour, (H, 3 W)."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    like = np.broadcast_to(np.tile(colour, rows.shape[1]), flat.shape)
    away: npt.NDArray[np.uint8] = np.maximum(flat, like) - np.minimum(flat, like)
    return away

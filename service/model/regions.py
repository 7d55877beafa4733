"""From a mask of what must be computed to the few rectangles that are computed; pure.

A run of the network costs time for each pixel, some more for each call, and much more the first
time that a size is seen. So the rectangles are few, and their sides are of few lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BlockMask", "Rectangle", "Region", "regions_of"]

BlockMask = npt.NDArray[np.bool_]
_Lengths = npt.NDArray[np.int64]

_MOST_REGIONS = 4
_CALL_PX = 16384  # what a call costs besides its pixels, in pixels
_SIDE_STEP_PX = 32  # OpenVINO prepares each new size, which takes as long as a small picture
_WHOLE_SHARE = 0.9  # from this share of a whole picture's cost on, the whole picture is computed


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Rows `top` to `bottom`, columns `left` to `right`; the ends are not part of it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """To index an array's rows and columns with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: Rectangle) -> Rectangle:
        """Itself, as seen from the outer one's corner."""
        return Rectangle(
            self.top - outer.top,
            self.left - outer.left,
            self.bottom - outer.top,
            self.right - outer.left,
        )


@dataclass(frozen=True, slots=True)
class Region:
    """In px: what the network is given, and the part of its answer that is that of the whole."""

    given: Rectangle
    valid: Rectangle


def regions_of(
    mask: BlockMask,
    size: tuple[int, int],
    *,
    block_px: int,
    context_px: int,
    multiple: int,
) -> list[Region] | None:
    """Few rectangles whose valid parts cover the mask.

    Args:
        mask: (rows, columns) of blocks that must be computed.
        size: height and width of the picture in px, as many blocks or a part of one less.
        context_px: what a valid pixel needs around it, as far as the picture goes.
        multiple: rectangles begin at multiples of it, and end there or where the picture does.

    Returns:
        None where computing the whole picture costs no more.
    """
    if not mask.any():
        return []
    boxes = _split(mask, size, block_px, context_px)
    regions = [_region(box, size, context_px, multiple) for box in boxes]
    cost = sum(region.given.area + _CALL_PX for region in regions)
    whole = size[0] * size[1] + _CALL_PX
    return regions if cost < _WHOLE_SHARE * whole else None


def _split(
    mask: BlockMask, size: tuple[int, int], block_px: int, context_px: int
) -> list[Rectangle]:
    """Bounding boxes in px, cut in two for as long as that saves something."""
    boxes: list[Rectangle] = []
    todo = [_bounds(mask, 0, 0)]
    while todo:
        box = todo.pop()
        part = mask[box.slices]
        cut = None
        if len(boxes) + len(todo) + 2 <= _MOST_REGIONS:
            cut = _best_cut(part, box, size, block_px, context_px)
        if cut is None:
            boxes.append(_scaled(box, block_px, size))
            continue
        axis, at = cut
        first, second = np.split(part, [at], axis=axis)
        offset = (box.top + at, box.left) if axis == 0 else (box.top, box.left + at)
        todo += [_bounds(first, box.top, box.left), _bounds(second, *offset)]
    return boxes


def _best_cut(
    part: BlockMask, box: Rectangle, size: tuple[int, int], block_px: int, context_px: int
) -> tuple[int, int] | None:
    """(axis, index) of the cut that saves most, None where none does.

    The part is filled to its edges.
    """
    whole = _region(_scaled(box, block_px, size), size, context_px, 1).given
    best = float(whole.area + _CALL_PX)
    found = None
    for axis in (0, 1):
        length = part.shape[axis]
        if length < 2:
            continue
        across = part if axis == 0 else part.T
        filled = across.any(axis=1)
        width = across.shape[1]
        first = np.where(filled, across.argmax(axis=1), width)
        last = np.where(filled, width - across[:, ::-1].argmax(axis=1), 0)
        along, side = (box.top, box.left) if axis == 0 else (box.left, box.top)
        places = np.arange(length)
        # Where the first half ends if it is cut before n, and where the second half begins.
        ends = np.maximum.accumulate(np.where(filled, places + 1, 0))[:-1]
        starts = np.minimum.accumulate(np.where(filled, places, length)[::-1])[::-1][1:]
        costs = np.zeros(length - 1)
        for low, high, near, far in (
            (
                np.zeros_like(ends),
                ends,
                np.minimum.accumulate(first)[:-1],
                np.maximum.accumulate(last)[:-1],
            ),
            (
                starts,
                np.full_like(starts, length),
                np.minimum.accumulate(first[::-1])[::-1][1:],
                np.maximum.accumulate(last[::-1])[::-1][1:],
            ),
        ):
            costs += _CALL_PX + _grown(
                (low + along) * block_px, (high + along) * block_px, size[axis], context_px
            ) * _grown(
                (near + side) * block_px, (far + side) * block_px, size[1 - axis], context_px
            )
        at = int(costs.argmin())
        if costs[at] < best:
            best, found = float(costs[at]), (axis, at + 1)
    return found


def _grown(low: _Lengths, high: _Lengths, limit: int, context_px: int) -> _Lengths:
    """The length of low..high with its context, as far as the picture goes."""
    grown: _Lengths = np.minimum(high + context_px, limit) - np.maximum(low - context_px, 0)
    return grown


def _bounds(mask: BlockMask, top: int, left: int) -> Rectangle:
    """What is set in a mask that is not empty, from the whole one's corner."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return Rectangle(
        top + int(rows[0]),
        left + int(columns[0]),
        top + int(rows[-1]) + 1,
        left + int(columns[-1]) + 1,
    )


def _scaled(box: Rectangle, block_px: int, size: tuple[int, int]) -> Rectangle:
    return Rectangle(
        box.top * block_px,
        box.left * block_px,
        min(box.bottom * block_px, size[0]),
        min(box.right * block_px, size[1]),
    )


def _region(box: Rectangle, size: tuple[int, int], context_px: int, multiple: int) -> Region:
    top, bottom = _given(box.top, box.bottom, size[0], context_px, multiple)
    left, right = _given(box.left, box.right, size[1], context_px, multiple)
    given = Rectangle(top, left, bottom, right)
    valid = Rectangle(
        top + context_px if top else 0,
        left + context_px if left else 0,
        bottom - context_px if bottom < size[0] else bottom,
        right - context_px if right < size[1] else right,
    )
    return Region(given, valid)


def _given(low: int, high: int, limit: int, context_px: int, multiple: int) -> tuple[int, int]:
    """low..high with its context, its length a multiple of the step as far as there is room."""
    low, high = max(0, low - context_px), min(limit, high + context_px)
    step = -(-_SIDE_STEP_PX // multiple) * multiple
    low -= low % multiple
    length = -(-(high - low) // step) * step
    if length >= limit:
        return 0, limit
    if low + length <= limit:
        return low, low + length
    low = limit - length
    return low - low % multiple, limit

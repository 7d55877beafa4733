"""Still regions: where a stream's picture did not change, its last correction is used again.

A picture is compared, in blocks of 8 px, with the pictures that its corrections were computed from
and not with the last one: nothing creeps. What changed, and what is near to it, is computed anew
in few rectangles, or taken from the whole that was computed; all else is the new picture plus the
last correction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.model.regions import BlockMask, regions_of

__all__ = ["BLOCK_PX", "Noise", "StillMemory", "change_between"]

ImageArray = npt.NDArray[np.uint8]
BlockChanges = npt.NDArray[np.uint8]

BLOCK_PX = 8
# Beyond this a change moves no level of a correction by more than one, measured on all students.
_REACH_PX = 16
_NO_NOISE = 40  # levels of 2x2 px: beyond what noise and JPEG make of one picture


class Noise:
    """How much each block changes while it stands still, from what was seen; see `change_between`.

    JPEG makes ten times as much of a sensor's noise where there is texture as where there is none,
    so each block has a mean of its own, of all frames at first. A block that moves raises its mean
    too: it counts as still for as long as it has moved little more than it does in a frame or two,
    and never beyond `_HIGHEST`; what is wrong then is a correction that is late by so much.
    """

    _FACTOR = 3.0  # times the mean: beyond the noise
    _LOWEST, _HIGHEST = 12.0, 48.0
    _FRESH_SHARE = 0.1  # of a frame in the mean, at least
    _STILL_QUANTILE = 0.3  # so many blocks stand still in the first frames that are compared

    def __init__(self) -> None:
        self._means: Any = None
        self._frames = 1  # in the means, what is known before the first one counting as one

    def is_beyond(self, changes: BlockChanges) -> BlockMask:
        """Which blocks changed by more than noise."""
        seen = changes.astype(np.float32)
        if self._means is None:
            still = float(np.quantile(seen, self._STILL_QUANTILE))
            self._means = np.minimum(seen, 1 + 4 * still)
        limits = np.clip(self._FACTOR * self._means, self._LOWEST, self._HIGHEST)
        self._frames += 1
        share = max(self._FRESH_SHARE, 1 / self._frames)
        self._means += share * (np.minimum(seen, self._HIGHEST) - self._means)
        # A block alone is beyond it by chance now and then; motion takes its neighbours along.
        near = (seen > 0.5 * limits).astype(np.uint8)
        support = cv2.boxFilter(near, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        beyond: BlockMask = ((seen > limits) & (support >= 3)) | (seen > 2 * limits)
        return beyond


def change_between(one: ImageArray, other: ImageArray) -> BlockChanges:
    """How much blocks of 8x8 px differ: the mean square of the difference of 2x2 px, in levels.

    Differences count as 16 levels at most, so that a mean of 255 is far beyond any noise. A block
    with a difference beyond all noise has 255, however small it is: a caret, a dot, a star.

    Args:
        one, other: (H, W, 3) uint8, of one size.

    Returns:
        (ceil(H / 8), ceil(W / 8)) uint8.
    """
    difference = _in_blocks(cv2.absdiff(one, other))
    halved = _halved(difference)
    mean = _mean_of_blocks(_halved(cv2.multiply(halved, halved)), BLOCK_PX // 4)
    _, strong = cv2.threshold(halved, _NO_NOISE, 255, cv2.THRESH_BINARY)
    _, strong = cv2.threshold(_mean_of_blocks(strong, BLOCK_PX // 2), 0, 255, cv2.THRESH_BINARY)
    change: Any = cv2.max(mean, strong)
    return change  # type: ignore[no-any-return]


def _any_change(one: ImageArray, other: ImageArray) -> BlockChanges:
    """As `change_between`, but above 0 wherever a single level differs."""
    difference = _in_blocks(cv2.absdiff(one, other))
    _, differs = cv2.threshold(difference, 0, 255, cv2.THRESH_BINARY)
    return _mean_of_blocks(differs, BLOCK_PX)


def _in_blocks(image: Any) -> Any:
    """(H, 3 W) of an image (H, W, 3), repeated at its end up to a whole number of blocks."""
    height, width = image.shape[:2]
    down, right = -height % BLOCK_PX, -width % BLOCK_PX
    if down or right:
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE)
    return image.reshape(height + down, -1)


def _halved(plane: Any) -> Any:
    # OpenCV halves five times as fast as it takes means of larger blocks.
    size = plane.shape[1] // 2, plane.shape[0] // 2
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA)


def _mean_of_blocks(plane: Any, side: int) -> BlockChanges:
    size = plane.shape[1] // (3 * side), plane.shape[0] // side
    mean: Any = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    return mean  # type: ignore[no-any-return]


class StillMemory:
    """The corrections of one stream's picture and what they were computed from.

    They are all of one network, strength and description. It may be used by several threads: the
    last correction is added under the same lock under which a picture is compared with what that
    correction came from.
    """

    def __init__(self, seen: ImageArray, sharpened: ImageArray, *, is_exact: bool = False) -> None:
        self._lock = threading.Lock()
        self._seen = seen.copy()
        # What becomes brighter and what becomes darker by the correction, in levels.
        self._brighter: Any = cv2.subtract(sharpened, seen)
        self._darker: Any = cv2.subtract(seen, sharpened)
        self._version = 0
        self._noise = None if is_exact else Noise()

    def sharpen(
        self,
        seen: ImageArray,
        compute: Callable[[ImageArray], ImageArray],
        *,
        context_px: int,
        multiple: int,
    ) -> tuple[ImageArray, float]:
        """The sharpened picture, and the share of it whose correction was not computed.

        Args:
            seen: (H, W, 3) uint8 RGB, of the size of the first one.
            compute: sharpens a part of it.
            context_px: how far a correction looks.
            multiple: parts begin at multiples of it.
        """
        size = seen.shape[0], seen.shape[1]
        with self._lock:
            version = self._version
            regions = regions_of(
                self._changed(seen, context_px),
                size,
                block_px=BLOCK_PX,
                context_px=context_px,
                multiple=multiple,
            )
            if regions is not None:
                sharpened = self._corrected(seen)
        if regions is None:
            sharpened = compute(seen)
            with self._lock:
                self._keep(seen, sharpened, (slice(None), slice(None)))
            return sharpened, 0.0
        computed = np.zeros(size, np.uint8)
        for region in regions:
            part = compute(seen[region.given.slices])
            sharpened[region.valid.slices] = part[region.valid.within(region.given).slices]
            computed[region.valid.slices] = 1
        with self._lock:
            # Parts of two frames side by side would not go together: the first one stays.
            if version == self._version:
                for region in regions:
                    self._keep(seen, sharpened, region.valid.slices)
        return sharpened, 1 - cv2.countNonZero(computed) / computed.size

    def settle(
        self, seen: ImageArray, sharpened: ImageArray, *, context_px: int
    ) -> tuple[ImageArray, float]:
        """As `sharpen`, of a picture that was computed as a whole already."""
        height, width = seen.shape[:2]
        with self._lock:
            blocks = self._changed(seen, context_px).astype(np.uint8)
            if blocks.all():
                self._keep(seen, sharpened, (slice(None), slice(None)))
                return sharpened, 0.0
            settled = self._corrected(seen)
            left, top, across, down = cv2.boundingRect(blocks)
            box = blocks[top : top + down, left : left + across]
            if not box.size:
                return settled, 1.0
            size = across * BLOCK_PX, down * BLOCK_PX
            enlarged = cv2.resize(box, size, interpolation=cv2.INTER_NEAREST)
            rows = slice(top * BLOCK_PX, (top + down) * BLOCK_PX)
            columns = slice(left * BLOCK_PX, (left + across) * BLOCK_PX)
            where = rows, columns
            changed = np.ascontiguousarray(enlarged[: height - rows.start, : width - columns.start])
            new, old = sharpened[where], seen[where]
            cv2.copyTo(new, changed, settled[where])
            cv2.copyTo(old, changed, self._seen[where])
            cv2.subtract(new, old, self._brighter[where], changed)
            cv2.subtract(old, new, self._darker[where], changed)
            self._version += 1
        return settled, 1 - cv2.countNonZero(changed) / (height * width)

    def _corrected(self, seen: ImageArray) -> ImageArray:
        """The picture plus the last correction."""
        brighter: Any = cv2.add(seen, self._brighter)
        corrected: Any = cv2.subtract(brighter, self._darker, brighter)
        return corrected  # type: ignore[no-any-return]

    def _changed(self, seen: ImageArray, context_px: int) -> Any:
        """The blocks to compute: those that changed and those near to them."""
        if self._noise is None:
            changed, reach_px = _any_change(seen, self._seen) > 0, context_px
        else:
            changed = self._noise.is_beyond(change_between(seen, self._seen))
            reach_px = _REACH_PX
        side = 2 * -(-reach_px // BLOCK_PX) + 1
        return cv2.dilate(changed.astype(np.uint8), np.ones((side, side), np.uint8)) > 0

    def _keep(self, seen: ImageArray, sharpened: ImageArray, where: tuple[slice, slice]) -> None:
        self._version += 1
        new, old = sharpened[where], seen[where]
        self._seen[where] = old
        cv2.subtract(new, old, self._brighter[where])
        cv2.subtract(old, new, self._darker[where])

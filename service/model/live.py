"""What one stream remembers between its frames.

The description of a picture is asked for every few frames only and smoothed, since what degrades a
stream's pictures (a camera, a lens, an encoder) changes slowly; after a cut it is taken anew. The
network may work on the picture scaled down, which adds its correction to the full one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from service.model.sharpener import Description, ImageArray, Sharpener

__all__ = ["LiveFrame", "LiveSharpener"]

_DESCRIBE_EVERY = 8  # frames
_DESCRIPTION_SHARE = 0.25  # of a new description in the smoothed one
_CUT_GRID = 32  # samples along the shorter side of a picture
_CUT_LEVELS = 30  # by which a sample is another one
_CUT_SHARE = 0.4  # of the samples that are others after a cut


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A sharpened image (H, W, 3) uint8 RGB.

    `still_share` is the share of it whose last correction was used again, 0 to 1.
    """

    image: ImageArray
    still_share: float


class LiveSharpener:
    """What one stream remembers between its frames; thread-safe, frames may overlap on two lanes.

    Another sharpener, strength, scale or frame size than the last time begins anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[object, ...] = ()
        self._samples: npt.NDArray[np.uint8] | None = None
        self._description: Description | None = None
        self._frames_since_described = 0

    def sharpen(
        self,
        sharpener: Sharpener,
        image: ImageArray,
        *,
        strength: float,
        scale: float = 1.0,
        reuses_still: bool = True,
        lane: int | None = None,
    ) -> LiveFrame:
        """Sharpens the stream's next frame.

        Args:
            sharpener: what to do it with.
            image: (H, W, 3) uint8 RGB; it is kept, and must not be changed afterwards.
            strength: 0 (off), 1 (as trained) to 2 (stronger).
            scale: of the picture that the network works on, above 0 to 1; its correction is scaled
                up and added to the image.
            reuses_still: whether the last correction is used again where the picture stands still.
            lane: as in `Sharpener.sharpen`.

        Raises:
            ValueError: the array is no image, or the strength or scale is out of range.
        """
        if not 0 < scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, not {scale}")
        if strength == 0 or not _is_image(image):
            return LiveFrame(sharpener.sharpen(image, strength=strength, lane=lane), 0.0)
        seen = image if scale == 1 else _scaled_down(image, scale)
        with self._lock:
            description = self._describe(sharpener, seen, (strength, scale), lane)
        sharpened = sharpener.sharpen(seen, strength=strength, description=description, lane=lane)
        if scale < 1:
            sharpened = _add_scaled_up(image, seen, sharpened)
        return LiveFrame(sharpened, 0.0)

    def describe(
        self, sharpener: Sharpener, image: ImageArray, *, strength: float, lane: int | None = None
    ) -> Description:
        """What the stream's next frame goes by, for whoever runs it with other streams' frames.

        See `sharpen`; at full scale.
        """
        with self._lock:
            return self._describe(sharpener, image, (strength, 1.0), lane)

    def _describe(
        self, sharpener: Sharpener, seen: ImageArray, asked: tuple[float, float], lane: int | None
    ) -> Description:
        key = (sharpener, *asked, seen.shape)
        samples = _samples_of(seen)
        is_cut = self._samples is None or key != self._key or _is_cut(self._samples, samples)
        self._key, self._samples = key, samples
        self._frames_since_described += 1
        if is_cut or self._description is None:
            self._description = sharpener.describe(seen, lane=lane)
            self._frames_since_described = 0
        elif self._frames_since_described >= _DESCRIBE_EVERY:
            fresh = sharpener.describe(seen, lane=lane)
            self._description = self._description + _DESCRIPTION_SHARE * (fresh - self._description)
            self._frames_since_described = 0
        return self._description


def _samples_of(image: ImageArray) -> npt.NDArray[np.uint8]:
    step = max(1, min(image.shape[:2]) // _CUT_GRID)
    return np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])


def _is_cut(before: npt.NDArray[np.uint8], now: npt.NDArray[np.uint8]) -> bool:
    differences: Any = cv2.absdiff(before, now)
    return float((differences.max(axis=2) > _CUT_LEVELS).mean()) > _CUT_SHARE


def _scaled_down(image: ImageArray, scale: float) -> ImageArray:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    scaled: Any = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return scaled  # type: ignore[no-any-return]


def _add_scaled_up(image: ImageArray, seen: ImageArray, sharpened: ImageArray) -> ImageArray:
    """What became of the picture that the network saw, added to the full one in saturation."""
    size = image.shape[1::-1]
    correction = cv2.subtract(sharpened, seen, dtype=cv2.CV_16S)
    added: Any = cv2.add(image, cv2.resize(correction, size), dtype=cv2.CV_8U)
    return added  # type: ignore[no-any-return]


def _is_image(array: npt.NDArray[Any]) -> bool:
    return (
        array.ndim == 3 and array.shape[2] == 3 and 0 not in array.shape and array.dtype == np.uint8
    )

"""PSNR and SSIM of many versions of one picture against its original.

The same measures as `trainer.quality`, several times as fast: what depends on the original alone is
computed once, and the windows are OpenCV's.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainer.quality import PSNR_CEILING_DB

__all__ = ["Reference"]

ImageArray = npt.NDArray[np.uint8]
_Planes = npt.NDArray[np.floating[Any]]

_WINDOW_PX = 11
_SIGMA_PX = 1.5
_C1, _C2 = 0.01**2, 0.03**2


class Reference:
    """A clean image (H, W, 3) uint8 RGB of any size.

    Where it is smaller than SSIM's window of 11 px, the window is as large as it is, as in
    `trainer.quality.ssim_map`.
    """

    def __init__(self, clean: ImageArray) -> None:
        self._levels = clean.astype(np.float32)
        self._pixels = self._levels / 255
        height, width = clean.shape[:2]
        self._rows, self._columns = (_gaussian(min(_WINDOW_PX, side)) for side in (height, width))
        self._mean = self._windowed(self._pixels)
        self._mean_square = np.square(self._mean)
        self._variance = self._windowed(np.square(self._pixels)) - self._mean_square

    def psnr_db(self, image: ImageArray) -> float:
        """PSNR over all three channels, at most `PSNR_CEILING_DB`.

        Raises:
            ValueError: the image is not of the original's size.
        """
        self._require_same_shape(image)
        error = float(np.square(image - self._levels).mean(dtype=np.float64)) / 255**2
        return float(-10 * np.log10(max(error, 10 ** (-PSNR_CEILING_DB / 10))))

    def ssim(self, image: ImageArray) -> float:
        """SSIM of each RGB channel, averaged; see `trainer.quality`.

        Raises:
            ValueError: the image is not of the original's size.
        """
        self._require_same_shape(image)
        pixels = image.astype(np.float32) / 255
        mean = self._windowed(pixels)
        mean_square, product = np.square(mean), mean * self._mean
        variances = self._windowed(np.square(pixels)) - mean_square + self._variance
        covariance = self._windowed(pixels * self._pixels) - product
        luminance = (2 * product + _C1) / (mean_square + self._mean_square + _C1)
        similarity = luminance * (2 * covariance + _C2) / (variances + _C2)
        return float(similarity.mean(dtype=np.float64))

    def _windowed(self, planes: _Planes) -> _Planes:
        """Gaussian-weighted means of the windows that fit."""
        filtered = np.asarray(
            cv2.sepFilter2D(planes, -1, self._columns, self._rows), dtype=np.float32
        )
        height, width = planes.shape[:2]
        top, left = len(self._rows) // 2, len(self._columns) // 2
        bottom = top + height - len(self._rows) + 1
        right = left + width - len(self._columns) + 1
        return filtered[top:bottom, left:right]

    def _require_same_shape(self, image: ImageArray) -> None:
        if image.shape != self._levels.shape:
            raise ValueError(
                f"a picture of {self._levels.shape} cannot be compared with one of {image.shape}: "
                "a method has to keep the size."
            )


def _gaussian(length: int) -> _Planes:
    offsets = np.arange(length) - (length - 1) / 2
    weights: npt.NDArray[np.float64] = np.exp(-np.square(offsets) / (2 * _SIGMA_PX**2))
    return np.asarray(weights / weights.sum(), dtype=np.float32)

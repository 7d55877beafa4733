"""PSNR and SSIM, as every figure of ours is measured.

SSIM (Wang et al. 2004): Gaussian window of 11 px and sigma 1.5, K1 = 0.01, K2 = 0.03, range 1.0,
each RGB channel by itself and
then averaged, population statistics, no border crop: the map is computed where the window fits.
    Other libraries differ by up to 0.02.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["HARM_DB", "PSNR_CEILING_DB", "image_psnr_db", "image_ssim", "psnr_db", "ssim_map"]

PSNR_CEILING_DB = 60.0
HARM_DB = 0.05  # a picture that loses more counts as made worse
_WINDOW_PX = 11
_SIGMA_PX = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def psnr_db(sharpened: Tensor, clean: Tensor) -> Tensor:
    """PSNR of each picture.

    (N, C, H, W) in [0, 1] twice -> (N,), at most `PSNR_CEILING_DB` (equal pictures have none).
    """
    error = (sharpened.float() - clean.float()).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(10 ** (-PSNR_CEILING_DB / 10)))


def ssim_map(first: Tensor, second: Tensor, *, stride_px: int = 1) -> Tensor:
    """SSIM of each window: (N, C, H, W) in [0, 1] twice -> (N, C, H', W').

    Pictures smaller than the window use one as large as they are.
    """
    mean_1, mean_2, square_1, square_2, product = (
        _windowed(planes, stride_px)
        for planes in (first, second, first.square(), second.square(), first * second)
    )
    variance_1 = square_1 - mean_1.square()
    variance_2 = square_2 - mean_2.square()
    covariance = product - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + _C1) / (mean_1.square() + mean_2.square() + _C1)
    return luminance * (2 * covariance + _C2) / (variance_1 + variance_2 + _C2)


def _windowed(planes: Tensor, stride_px: int) -> Tensor:
    """Gaussian-weighted means (N, C, H, W) -> (N, C, H', W') of the windows that fit.

    Strided windows are two products with banded matrices: on a CPU that is twice as fast, backwards
    included, as a depthwise convolution; dense ones are convolved.
    """
    channels, height, width = planes.shape[1:]
    rows, columns = (_gaussian(min(_WINDOW_PX, length), planes) for length in (height, width))
    if stride_px > 1:
        down = _banded(rows, height, stride_px)
        across = _banded(columns, width, stride_px)
        return down @ planes @ across.T
    kernels = (rows[:, None], columns[None, :])
    for kernel in kernels:
        planes = F.conv2d(planes, kernel.expand(channels, 1, *kernel.shape), groups=channels)
    return planes


def _gaussian(length: int, like: Tensor) -> Tensor:
    offsets = torch.arange(length, dtype=like.dtype, device=like.device) - (length - 1) / 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA_PX**2))
    return weights / weights.sum()


def _banded(weights: Tensor, length: int, stride_px: int) -> Tensor:
    """The matrix whose row i holds `weights` from column i * stride_px on."""
    starts = torch.arange(0, length - len(weights) + 1, stride_px, device=weights.device)
    columns = starts[:, None] + torch.arange(len(weights), device=weights.device)
    return weights.new_zeros(len(starts), length).scatter(
        1, columns, weights.expand(len(starts), -1)
    )


def image_psnr_db(image: npt.NDArray[np.uint8], clean: npt.NDArray[np.uint8]) -> float:
    """PSNR of one image (H, W, 3) uint8 RGB against its original, at most `PSNR_CEILING_DB`."""
    error = float(np.mean((image.astype(np.float32) - clean.astype(np.float32)) ** 2)) / 255**2
    return float(-10 * np.log10(max(error, 10 ** (-PSNR_CEILING_DB / 10))))


def image_ssim(image: npt.NDArray[np.uint8], clean: npt.NDArray[np.uint8]) -> float:
    """SSIM of one image (H, W, 3) uint8 RGB against its original."""
    with torch.inference_mode():
        first, second = (
            torch.from_numpy(array.transpose(2, 0, 1)[None].astype(np.float32) / 255)
            for array in (image, clean)
        )
        return float(ssim_map(first, second).mean())

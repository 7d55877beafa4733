"""The estimator: a few numbers that say how a picture is degraded.

Blur, interpolation, noise and compression all change how much signal passes which local filter, at
which phase of the pixel grid. So the estimator is a bank of learned filters on the luma, and its
answer the logarithm of the mean magnitude that passes each: a ratio of two magnitudes, which does
not depend on how much there is to see in a picture, is a difference of two numbers.

It looks at a sample of the picture, at most 36 squares of 64 px: what it costs does not grow with
the picture, and a part of it can be described as the whole is. How the squares are pooled decides
what speaks for the picture. A mean of magnitudes is that of the sharpest squares: one line of
captions on a blurred picture, and all of it counts as sharp. A mean of logarithms, weighted by what
can be told from a square, is that of most of them.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "DESCRIPTION_LENGTH",
    "GRID_PX",
    "SQUARES_ACROSS",
    "SQUARE_PX",
    "DegradationEstimator",
    "Pooling",
    "luma_of",
    "luma_squares",
    "sample_image",
    "sampled_places",
]

SQUARE_PX = 64
SQUARES_ACROSS = 6
# Squares begin at multiples of this, the side of a JPEG block, so that all show the same phases.
GRID_PX = 8
_UNSHUFFLE = 4
_FILTERS = 32
DESCRIPTION_LENGTH = 2 * _FILTERS
_SMALLEST_MAGNITUDE = 1e-4
_LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG
_LUMA_ROW = np.array([_LUMA_WEIGHTS], np.float32)
# The first weights of squares: of a mean logarithm of -3 a half, of flat ones next to none.
_RELEVANCE_SLOPE = 2.0
_HALF_RELEVANT = -3.0

Pooling = Literal["mean", "weighted"]


def luma_of(pixels: Tensor) -> Tensor:
    """(N, 3, H, W) RGB -> (N, 1, H, W), the weighted sum of BT.601."""
    red, green, blue = _LUMA_WEIGHTS
    return red * pixels[:, :1] + green * pixels[:, 1:2] + blue * pixels[:, 2:]


def sampled_places(length: int) -> npt.NDArray[np.int64]:
    """Which of the rows (or columns) 0..length - 1 are looked at, a multiple of 64 of them.

    Up to 6 runs of 64, evenly spread. A picture of less than 64 px repeats its last row.
    """
    places: npt.NDArray[np.int64] = (_starts(length)[:, None] + np.arange(SQUARE_PX)).reshape(-1)
    return places.clip(max=length - 1)


def _starts(length: int) -> npt.NDArray[np.int64]:
    count = min(max(length // SQUARE_PX, 1), SQUARES_ACROSS)
    last = max(length - SQUARE_PX, 0)
    starts: npt.NDArray[np.int64] = (
        np.arange(count) * last // max(count - 1, 1) // GRID_PX * GRID_PX
    )
    return starts


def sample_image(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The squares of an image (H, W, 3) side by side: height and width are multiples of 64."""
    height, width = image.shape[:2]
    if min(height, width) < SQUARE_PX:
        return image[sampled_places(height)[:, None], sampled_places(width)[None, :]]
    rows, columns = _starts(height), _starts(width)
    # Copied square by square, which takes a tenth of the time of indexing by every row and column.
    squares = np.empty((len(rows), SQUARE_PX, len(columns), SQUARE_PX, 3), np.uint8)
    for down, top in enumerate(rows):
        for across, left in enumerate(columns):
            square = image[top : top + SQUARE_PX, left : left + SQUARE_PX]
            squares[down, :, across] = square
    return squares.reshape(len(rows) * SQUARE_PX, len(columns) * SQUARE_PX, 3)


def luma_squares(sampled: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The squares that `sample_image` took, for `describe_luma`: (B, 1, 66, 66) in levels of 255.

    With this inside of its graph, OpenVINO takes half as long again for a description.
    """
    luma = cv2.transform(sampled.astype(np.float32), _LUMA_ROW)
    down, across = (length // SQUARE_PX for length in luma.shape)
    squares = np.empty((down, across, SQUARE_PX + 2, SQUARE_PX + 2), np.float32)
    inner = luma.reshape(down, SQUARE_PX, across, SQUARE_PX)
    squares[:, :, 1:-1, 1:-1] = inner.transpose(0, 2, 1, 3)
    squares[:, :, 0], squares[:, :, -1] = squares[:, :, 1], squares[:, :, -2]
    squares[..., 0], squares[..., -1] = squares[..., 1], squares[..., -2]
    return squares.reshape(-1, 1, SQUARE_PX + 2, SQUARE_PX + 2)


class DegradationEstimator(nn.Module):
    """Pixels (N, 3, H, W), float, RGB in [0, 1], of any size -> (N, DESCRIPTION_LENGTH), fp32.

    A Laplacian of the luma, which makes up for how little of a natural picture is fine detail; then
    two layers of learned 3x3 filters with a stride of 2 at a quarter of the resolution, windows of
    14 and 30 px. The logarithms are normalised over all filters, which takes most of the contrast
    out. Always in fp32: in half precision the picture's own rounding would drown what there is to
    hear.

    Args:
        pooling: of a picture's squares: `mean` takes the logarithms of their mean magnitudes;
            `weighted` the mean of their logarithms, each weighted by a learned function of its own.
    """

    laplacians: Tensor

    def __init__(self, *, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.register_buffer("laplacians", _laplacians(), persistent=False)
        self.fine = nn.Conv2d(_UNSHUFFLE**2, _FILTERS, 3, stride=2)
        self.coarse = nn.Conv2d(_FILTERS, _FILTERS, 3, stride=2)
        self.norm = nn.LayerNorm(DESCRIPTION_LENGTH)
        self.relevance = nn.Linear(DESCRIPTION_LENGTH, 1) if pooling == "weighted" else None
        if self.relevance is not None:
            nn.init.constant_(self.relevance.weight, _RELEVANCE_SLOPE / DESCRIPTION_LENGTH)
            nn.init.constant_(self.relevance.bias, -_RELEVANCE_SLOPE * _HALF_RELEVANT)

    def forward(self, pixels: Tensor) -> Tensor:
        """Describes pictures, or the squares that `sample_image` took from them."""
        height, width = pixels.shape[2:]
        if height % SQUARE_PX or width % SQUARE_PX or max(height, width) > self._largest_px:
            rows, columns = (
                torch.from_numpy(sampled_places(length)).to(pixels.device)
                for length in (height, width)
            )
            pixels = pixels[:, :, rows][:, :, :, columns]
        return self.describe_squares(pixels)

    @property
    def _largest_px(self) -> int:
        return SQUARE_PX * SQUARES_ACROSS

    def describe_squares(self, pixels: Tensor) -> Tensor:
        """As `forward`, of (N, 3, 64 m, 64 n) where the squares of 64 px lie side by side."""
        magnitudes = self.magnitudes(_apart(pixels))
        return self.description_of(magnitudes.reshape(len(pixels), -1, DESCRIPTION_LENGTH))

    def magnitudes(self, squares: Tensor) -> Tensor:
        """Squares (B, 3, 64, 64) -> (B, DESCRIPTION_LENGTH), how much passes each filter."""
        with torch.autocast(squares.device.type, enabled=False):
            luma = F.pad(luma_of(squares.float()), (1, 1, 1, 1), mode="replicate")
            return self._magnitudes_of(luma, self.laplacians)

    def describe_luma(self, squares: Tensor) -> Tensor:
        """As `describe_squares`, of one picture's `luma_squares`."""
        magnitudes = self._magnitudes_of(squares, self.laplacians / 255)
        return self.description_of(magnitudes[None])

    def _magnitudes_of(self, luma: Tensor, laplacians: Tensor) -> Tensor:
        fine = self.fine(F.conv2d(luma, laplacians, stride=_UNSHUFFLE))
        coarse = self.coarse(F.leaky_relu(fine, 0.1))
        return torch.cat([layer.abs().mean(dim=(2, 3)) for layer in (fine, coarse)], dim=1)

    def description_of(self, magnitudes: Tensor, counts: Tensor | None = None) -> Tensor:
        """The magnitudes of pictures' squares (N, B, DESCRIPTION_LENGTH) -> descriptions.

        Args:
            counts: (B, 1), how much each square counts, 1 in all; None = all alike.
        """
        with torch.autocast(magnitudes.device.type, enabled=False):
            if self.relevance is None:
                mean = magnitudes.mean(1) if counts is None else (magnitudes * counts).sum(1)
                logarithms = torch.log(mean + _SMALLEST_MAGNITUDE)
            else:
                each = torch.log(magnitudes + _SMALLEST_MAGNITUDE)
                relevance = F.logsigmoid(self.relevance(each))
                weights = relevance if counts is None else relevance + torch.log(counts)
                logarithms = (F.softmax(weights, dim=1) * each).sum(1)
            description: Tensor = self.norm(logarithms)
            return description


def _laplacians() -> Tensor:
    """(16, 1, 6, 6), the Laplacian at each place of a square of 4 px.

    Strided by 4 they give what it gives, unshuffled, in a sixth of the time. Scaled so that what it
    lets through is about as large as the pixels.
    """
    kernel = np.array([[1, 2, 1], [2, -12, 2], [1, 2, 1]], np.float32) * (8 / 12)
    side_px = _UNSHUFFLE + len(kernel) - 1
    kernels = np.zeros((_UNSHUFFLE**2, 1, side_px, side_px), np.float32)
    for place in range(_UNSHUFFLE**2):
        top, left = divmod(place, _UNSHUFFLE)
        kernels[place, 0, top : top + len(kernel), left : left + len(kernel)] = kernel
    return torch.from_numpy(kernels)


def _apart(pixels: Tensor) -> Tensor:
    """(N, 3, 64 m, 64 n) -> (N m n, 3, 64, 64), the squares of one picture after each other."""
    count, planes, height, width = pixels.shape
    down, across = height // SQUARE_PX, width // SQUARE_PX
    squares = pixels.reshape(count, planes, down, SQUARE_PX, across, SQUARE_PX)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(-1, planes, SQUARE_PX, SQUARE_PX)

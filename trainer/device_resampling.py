"""OpenCV's and Pillow's resampling as matrices, one pair for each picture of a batch.

Separable and linear, a resampler is a matrix for the rows and one for the columns. Pictures of one
batch may shrink by different factors: smaller results are filled up to a common size by repeating
their last row and column. Levels are rounded where the libraries round them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.operators import Resampler

__all__ = ["resample", "resampling_matrix"]

_TAPS = {"bilinear": 2, "bicubic": 4, "lanczos": 8}
_SUPPORT_PX = {
    "bicubic-antialiased": 2.0,
    "bilinear-antialiased": 1.0,
    "lanczos-antialiased": 3.0,
    "hamming-antialiased": 1.0,
}
_OPENCV_STEPS = 2048  # OpenCV's weights have 11 bits


def resample(
    levels: Tensor, rows: Tensor, columns: Tensor, resamplers: Sequence[Resampler]
) -> Tensor:
    """Applies a matrix to the columns and one to the rows of each picture, and rounds.

    Args:
        levels: (N, 3, H, W) float, whole numbers in [0, 255].
        rows: (N, H', H), columns: (N, W', W), from `resampling_matrix` with the same `resamplers`.

    Returns:
        (N, 3, H', W') of the same kind.
    """
    # Pillow rounds after the columns, OpenCV does not. All but OpenCV's bicubic round halves up;
    # these are frequent where the factor is 2 or 4.
    is_pillows = _each(levels, [name in _SUPPORT_PX for name in resamplers])
    nudge = _each(levels, [0.0 if name == "bicubic" else 2**-10 for name in resamplers])
    across = levels @ columns[:, None].transpose(2, 3)
    across = torch.where(is_pillows > 0, _rounded(across + nudge), across)
    return _rounded(rows[:, None] @ across + nudge)


def _each(levels: Tensor, values: Sequence[float]) -> Tensor:
    return levels.new_tensor(values)[:, None, None, None]


def _rounded(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255)


def resampling_matrix(
    resamplers: Sequence[Resampler],
    from_lengths: Tensor,
    to_lengths: Tensor,
    *,
    from_padded: int,
    to_padded: int,
) -> Tensor:
    """Weights (N, to_padded, from_padded) that resample N lines, each of its own length.

    Rows of the matrix past a line's new length repeat the last one; columns past its old length are
    zero.

    Args:
        resamplers: of each line; "area" for shrinking only.
        from_lengths: (N,) float, on the device of the result.
        to_lengths: (N,) float.

    Raises:
        ValueError: a name that is not a `Resampler`.
    """
    known = {*_TAPS, *_SUPPORT_PX, "area", "nearest"}
    if not known.issuperset(resamplers):
        raise ValueError(f"a resampler must be one of {', '.join(sorted(known))}")
    positions = torch.arange(to_padded, device=from_lengths.device, dtype=torch.float32)
    matrix = from_lengths.new_zeros(len(resamplers), to_padded, from_padded)
    for resampler in sorted(set(resamplers)):
        members = [index for index, name in enumerate(resamplers) if name == resampler]
        index = torch.tensor(members, device=matrix.device)
        before, after = from_lengths[index, None], to_lengths[index, None]
        outputs = torch.minimum(positions, after - 1)
        matrix[index] = _weights(resampler, outputs, before, after, from_padded)
    return matrix


def _weights(
    resampler: Resampler, outputs: Tensor, before: Tensor, after: Tensor, length: int
) -> Tensor:
    """Weights (M, T, length) of outputs (M, T) of lines that go from `before` to `after` (M, 1)."""
    scale = before / after
    if resampler in _TAPS:
        return _interpolated(outputs, scale, before, length, _TAPS[resampler])
    if resampler == "nearest":
        return _nearest(outputs, before, after, length)
    inputs = torch.arange(length, device=outputs.device, dtype=torch.float32)
    is_real = inputs < before[..., None]
    outputs, scale = outputs[..., None], scale[..., None]
    if resampler == "area":
        first, last = outputs * scale, (outputs + 1) * scale
        weights = (torch.minimum(last, inputs + 1) - torch.maximum(first, inputs)).clamp_min(0)
    else:
        # Pillow widens the filter with the shrinking, and takes whole inputs by their centres.
        width = scale.clamp_min(1)
        centres = (outputs + 0.5) * scale
        support = _SUPPORT_PX[resampler] * width
        first = torch.floor(centres - support + 0.5)
        last = torch.floor(centres + support + 0.5)
        distances = ((inputs + 0.5 - centres) / width).abs()
        weights = _pillows_kernel(resampler, distances)
        weights = torch.where((inputs >= first) & (inputs < last), weights, 0)
    weights = weights * is_real
    return weights / weights.sum(dim=-1, keepdim=True)


def _pillows_kernel(resampler: Resampler, distances: Tensor) -> Tensor:
    """Weights at distances from the centre, in px of the smaller picture."""
    match resampler:
        case "bicubic-antialiased":
            return _cubic(distances, -0.5)
        case "lanczos-antialiased":
            return _lanczos(distances, 3)
        case "hamming-antialiased":
            window = 0.54 + 0.46 * torch.cos(math.pi * distances)
            return torch.where(distances < 1, torch.sinc(distances) * window, 0)
    return (1 - distances).clamp_min(0)


def _nearest(outputs: Tensor, before: Tensor, after: Tensor, length: int) -> Tensor:
    """OpenCV's, in 64 bits as there: where a source begins, a little less is another source."""
    before, after = before.cpu().double(), after.cpu().double()
    sources = torch.floor(outputs.cpu().double() * (after / before).reciprocal())
    sources = torch.minimum(sources, before - 1).long().to(outputs.device)
    return F.one_hot(sources, length).to(outputs.dtype)


def _interpolated(outputs: Tensor, scale: Tensor, before: Tensor, length: int, taps: int) -> Tensor:
    """OpenCV's: so many taps around the centre whatever the factor, the border repeated."""
    centres = (outputs + 0.5) * scale - 0.5
    whole = torch.floor(centres)
    offsets = torch.arange(1 - taps // 2, 1 + taps // 2, device=outputs.device)
    distances = ((centres - whole)[..., None] - offsets).abs()
    weights = _opencvs_kernel(distances, taps)
    weights = torch.round(weights * _OPENCV_STEPS) / _OPENCV_STEPS
    sources = (whole[..., None] + offsets).clamp_min(0)
    sources = torch.minimum(sources, before[..., None] - 1).long()
    return weights.new_zeros(*outputs.shape, length).scatter_add(2, sources, weights)


def _opencvs_kernel(distances: Tensor, taps: int) -> Tensor:
    """Weights at distances from the centre, in px of the picture that is read."""
    match taps:
        case 2:
            return 1 - distances
        case 4:
            return _cubic(distances, -0.75)
    weights = _lanczos(distances, 4)
    return weights / weights.sum(dim=-1, keepdim=True)


def _lanczos(distances: Tensor, lobes: int) -> Tensor:
    """The sinc function, windowed by its own middle lobe (Duchon 1979)."""
    windowed = torch.sinc(distances) * torch.sinc(distances / lobes)
    return torch.where(distances < lobes, windowed, 0)


def _cubic(distances: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel (1981) of parameter `a`."""
    near = ((a + 2) * distances - (a + 3)) * distances.square() + 1
    far = a * (((distances - 5) * distances + 8) * distances - 4)
    return torch.where(distances <= 1, near, torch.where(distances < 2, far, 0))

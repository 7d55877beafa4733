"""JPEG's loss as tensor operations, for whole batches with a quality of their own each.

What libjpeg-turbo does between pixels and coefficients and back, without the entropy coding, which
loses nothing: JFIF's YCbCr (ITU-T T.871), 4:2:0 chroma, 8x8 DCT, quantisation by the tables of
ITU-T T.81, Annex K, scaled as libjpeg scales them, and triangular chroma interpolation. Levels are
rounded where libjpeg rounds them, since a rounding that goes the other way is a coefficient more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["compress_jpeg_batch", "quantisation_tables"]

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
_TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
# The left half of the DCT in 13-bit fixed point, as the sums and products of libjpeg's accurate
# integer transform (Loeffler et al. 1989) amount to; the exact DCT differs by 1 here and there.
_TRANSFORM = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)


def quantisation_tables(quality: Tensor) -> Tensor:
    """Luma's and chroma's steps (N, 2, 8, 8) for qualities (N,) from 1 to 100, as libjpeg's."""
    base = quality.new_tensor((_LUMA, _CHROMA), dtype=torch.float32)
    scale = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    return torch.floor((base * scale[:, None, None, None] + 50) / 100).clamp(1, 255)


def compress_jpeg_batch(
    levels: Tensor,
    quality: Tensor,
    is_subsampled: Tensor,
    sizes: Tensor | None = None,
) -> Tensor:
    """One round trip through JPEG for each picture.

    Args:
        levels: (N, 3, H, W) float RGB, whole numbers in [0, 255].
        quality: (N,) float, 1 to 100.
        is_subsampled: (N,) bool; colour at half resolution where true.
        sizes: (N, 2) height and width where pictures fill only the top left of their plane; what is
            beyond must repeat their last row and column, and is undefined afterwards.

    Returns:
        (N, 3, H, W) float RGB, whole numbers in [0, 255].
    """
    height, width = levels.shape[-2:]
    if sizes is None:
        sizes = levels.new_tensor((height, width)).expand(len(levels), 2)
    tables = quantisation_tables(quality.float())
    ycc = _ycc(_extended(levels, 16))
    luma, chroma = ycc[:, :1], ycc[:, 1:]
    luma = _coded(luma, tables[:, :1])
    # Both ways where both are asked for: branches on the device's data would make the host wait.
    fine = _coded(chroma, tables[:, 1:])
    coarse = _enlarged(_coded(_halved(chroma, sizes), tables[:, 1:]), sizes)
    chroma = torch.where(is_subsampled[:, None, None, None], coarse, fine)
    return _rgb(luma, chroma)[..., :height, :width]


def _extended(planes: Tensor, multiple: int) -> Tensor:
    """The last row and column repeated up to whole blocks, as libjpeg does."""
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _ycc(levels: Tensor) -> Tensor:
    """RGB to YCbCr, in the 16-bit fixed point of libjpeg; float32 holds these products exactly."""
    offset = levels.new_tensor((32768, 128 * 65536 + 32767, 128 * 65536 + 32767))
    sums = torch.einsum("rc,nchw->nrhw", levels.new_tensor(_TO_YCC), levels)
    return torch.floor((sums + offset[:, None, None]) / 65536)


def _rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    blue, red = (chroma - 128).unbind(1)
    luma = luma[:, 0]
    return torch.stack(
        (
            luma + _shifted(91881 * red, 16),
            luma + _shifted(-22554 * blue - 46802 * red, 16),
            luma + _shifted(116130 * blue, 16),
        ),
        dim=1,
    ).clamp(0, 255)


def _coded(planes: Tensor, tables: Tensor) -> Tensor:
    """8x8 DCT, quantised and back: (N, C, H, W), sides multiples of 8, tables (N, 1, 8, 8)."""
    count, channels, height, width = planes.shape
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4) - 128
    left = planes.new_tensor(_TRANSFORM)
    signs = planes.new_tensor((1, -1)).repeat(4)[:, None]  # even rows are symmetric, odd ones not
    transform = torch.cat((left, left.flip(1) * signs), dim=1)
    # Eight times the coefficients, so that halves of a step are common: rounded away from zero.
    eighths = _shifted(transform @ _shifted(blocks @ transform.T, 11), 15)
    steps = tables[:, :, None, None]
    coefficients = torch.floor(eighths.abs() / (8 * steps) + 0.5) * steps * eighths.sign()
    decoded = _shifted(_shifted(transform.T @ coefficients, 11) @ transform, 18)
    return (decoded + 128).clamp(0, 255).transpose(3, 4).reshape(planes.shape)


def _shifted(products: Tensor, bits: int) -> Tensor:
    return torch.floor(products / 2**bits + 0.5)


def _halved(planes: Tensor, sizes: Tensor) -> Tensor:
    """Means of 2x2, rounded up and down by turns, as libjpeg's h2v2 does."""
    sums = F.avg_pool2d(planes, 2, divisor_override=1)
    turns = 1 + torch.arange(sums.shape[-1], device=planes.device) % 2
    means = torch.floor((sums + turns) / 4)
    # libjpeg repeats the last row of means downwards, but full columns to the right.
    below = torch.ceil(sizes[:, 0] / 2)
    means = _repeated(means, below, dim=-2)
    return F.pad(means, (0, -means.shape[-1] % 8, 0, -means.shape[-2] % 8), mode="replicate")


def _repeated(planes: Tensor, lengths: Tensor, *, dim: int) -> Tensor:
    """Past the first `lengths` (N,) rows or columns come copies of the last of them."""
    positions = torch.arange(planes.shape[dim], device=planes.device)
    index = torch.minimum(positions, lengths[:, None].long() - 1)
    shape = [len(planes), 1, 1, 1]
    shape[dim] = -1
    return planes.gather(dim, index.view(shape).expand_as(planes))


def _enlarged(planes: Tensor, sizes: Tensor) -> Tensor:
    """Twice as large by libjpeg's "fancy" triangle filter: 9, 3, 3 and 1 sixteenths."""
    for dim in (-2, -1):
        planes = _repeated(planes, torch.ceil(sizes[:, dim] / 2), dim=dim)
    rows = _thirds(planes, dim=-2)
    sums = _thirds(rows, dim=-1)
    # 8 and 7 sixteenths by turns, so that the rounding does not shift the mean.
    turns = 8 - torch.arange(sums.shape[-1], device=planes.device) % 2
    return torch.floor((sums + turns) / 16)


def _thirds(planes: Tensor, *, dim: int) -> Tensor:
    """Interleaves 3 * each + its neighbour before, and 3 * each + its neighbour after."""
    length = planes.shape[dim]
    positions = torch.arange(length, device=planes.device)
    before = planes.index_select(dim, (positions - 1).clamp_min(0))
    after = planes.index_select(dim, (positions + 1).clamp_max(length - 1))
    both = torch.stack((3 * planes + before, 3 * planes + after), dim=planes.dim() + dim + 1)
    return both.flatten(planes.dim() + dim, planes.dim() + dim + 1)

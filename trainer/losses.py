"""The loss terms: pure differentiable functions of two stacks of pixels.

Each takes (N, 3, H, W) float RGB in [0, 1] twice and returns (N,), one value a crop, in fp32.
`weighted_terms` computes those whose weight is not zero; a term that is switched off costs nothing.
Terms that need a teacher take its output the same way.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.quality import ssim_map

__all__ = [
    "TERMS",
    "crop_importance",
    "edge_loss",
    "reconstruction_loss",
    "ssim_loss",
    "weighted_terms",
]

_SSIM_STRIDE_PX = 4
_SOBEL_STRIDE_PX = 2


def reconstruction_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """L1: the mean absolute difference."""
    return (sharpened - clean).abs().mean(dim=(1, 2, 3))


def ssim_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """1 - SSIM, its windows on every fourth position in each direction.

    Neighbouring windows of 11x11 px share most of their pixels: a sixteenth of them has nearly the
    same gradient and costs a sixteenth.
    """
    return 1 - ssim_map(sharpened, clean, stride_px=_SSIM_STRIDE_PX).mean(dim=(1, 2, 3))


def edge_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """L1 between the Sobel gradients, horizontal and vertical, at every second position.

    Borders left out.

    The kernels are divided by 8, so that a ramp of one level per px has a gradient of one level.
    """
    difference = (sharpened - clean).contiguous(memory_format=torch.channels_last)
    channels = difference.shape[1]
    sobel = difference.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    kernels = torch.stack((sobel, sobel.T))[:, None].repeat(channels, 1, 1, 1)
    return (
        F.conv2d(difference, kernels, stride=_SOBEL_STRIDE_PX, groups=channels)
        .abs()
        .mean(dim=(1, 2, 3))
    )


TERMS = {"l1": reconstruction_loss, "ssim": ssim_loss, "edge": edge_loss}


def crop_importance(degraded: Tensor, clean: Tensor, *, balance: float) -> Tensor:
    """How much each crop counts: 1 / (1 + L1(degraded, clean) / balance), (N,) in (0, 1].

    1 for all at balance 0.

    Quality is judged in dB, by ratios of errors. Without this a coarse degradation, with ten times
    the error of a slight one, would have ten times its gradient, and the student would trade the
    slight ones away.
    """
    if balance == 0:
        return degraded.new_ones(len(degraded))
    return 1 / (1 + reconstruction_loss(degraded, clean) / balance)


def weighted_terms(
    sharpened: Tensor, clean: Tensor, weights: Mapping[str, float], importance: Tensor
) -> dict[str, Tensor]:
    """Each term of `weights` times its weight, averaged over the crops; their sum is the loss.

    Args:
        weights: from the names in `TERMS` to weights of at least 0.
        importance: of each crop, (N,).
    """
    sharpened, clean = sharpened.float(), clean.float()
    return {
        name: weight * (importance * TERMS[name](sharpened, clean)).mean()
        for name, weight in weights.items()
        if weight > 0
    }

"""The loss terms: pure differentiable functions of two stacks of pixels.

Each takes (N, 3, H, W) float RGB in [0, 1] twice and returns (N,), one value a crop, in fp32 (fp64
for fp64). Call them outside autocast. `TERMS` are those that compare with the clean pixels; the one
that compares with the teacher's output takes it the same way. Terms with weights of their own are
in `trainer.perceptual` and `trainer.feature_distillation`; `weighted_terms` takes them as functions
to be called, so that a term that is switched off costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.quality import ssim_map

__all__ = [
    "CHARBONNIER_EPSILON",
    "TERMS",
    "charbonnier_loss",
    "crop_importance",
    "edge_loss",
    "harm_loss",
    "output_distillation_loss",
    "psnr_loss",
    "reconstruction_loss",
    "ssim_loss",
    "weighted_terms",
]

CHARBONNIER_EPSILON = 1e-3
_SSIM_STRIDE_PX = 4
_SOBEL_STRIDE_PX = 2
_LEAST_ERROR = (0.5 / 255) ** 2


def reconstruction_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """L1: the mean absolute difference."""
    return _difference(sharpened, clean).abs().mean(dim=(1, 2, 3))


def charbonnier_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """The mean of sqrt(difference^2 + epsilon^2), epsilon 1e-3: L1, smooth around zero.

    As in Lai et al., arXiv 1710.01992. Equal pictures give epsilon, not zero.
    """
    squared = _difference(sharpened, clean).square()
    return (squared + CHARBONNIER_EPSILON**2).sqrt().mean(dim=(1, 2, 3))


def psnr_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """log10(1 + the mean squared error / that of half a level): what is short of 54 dB, in tenths.

    Every crop counts by what it gains in dB, however slightly it was degraded. NAFNet's authors
    train by PSNR alone.
    """
    errors = _difference(sharpened, clean).square().mean(dim=(1, 2, 3))
    return torch.log10(1 + errors / _LEAST_ERROR)


def ssim_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """1 - SSIM, its windows on every fourth position in each direction.

    Neighbouring windows of 11x11 px share most of their pixels: a sixteenth of them has nearly the
    same gradient and costs a sixteenth.
    """
    windows = ssim_map(_precise(sharpened), _precise(clean), stride_px=_SSIM_STRIDE_PX)
    return 1 - windows.mean(dim=(1, 2, 3))


def edge_loss(sharpened: Tensor, clean: Tensor) -> Tensor:
    """L1 between the Sobel gradients, horizontal and vertical, at every second position.

    Borders left out.

    The kernels are divided by 8, so that a ramp of one level per px has a gradient of one level.
    """
    difference = _difference(sharpened, clean).contiguous(memory_format=torch.channels_last)
    channels = difference.shape[1]
    sobel = difference.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    kernels = torch.stack((sobel, sobel.T))[:, None].repeat(channels, 1, 1, 1)
    return (
        F.conv2d(difference, kernels, stride=_SOBEL_STRIDE_PX, groups=channels)
        .abs()
        .mean(dim=(1, 2, 3))
    )


def output_distillation_loss(sharpened: Tensor, taught: Tensor) -> Tensor:
    """L1 between the student's output and the teacher's, whose gradient stops here.

    The response-based distillation of Hinton et al., arXiv 1503.02531, in the form that regression
    of pixels gives it: the teacher's output takes the place of the clean crop.
    """
    return reconstruction_loss(sharpened, taught.detach())


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": reconstruction_loss,
    "charbonnier": charbonnier_loss,
    "psnr": psnr_loss,
    "ssim": ssim_loss,
    "edge": edge_loss,
}


def harm_loss(sharpened: Tensor, degraded: Tensor, clean: Tensor) -> Tensor:
    """By how much a crop is further from `clean` than it was before, (N,): log10 of the mean
    squared errors' ratio, 0 where it is nearer.

    A tenth of the loss of PSNR in dB. Errors count from half a level on, so that an untouched crop
    is no infinite loss.
    """
    before, after = (
        _difference(image, clean).square().mean(dim=(1, 2, 3)) + _LEAST_ERROR
        for image in (degraded, sharpened)
    )
    return torch.log10(after / before).relu()


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
    sharpened: Tensor,
    clean: Tensor,
    weights: Mapping[str, float],
    importance: Tensor,
    *,
    factors: Mapping[str, Tensor] | None = None,
    more: Mapping[str, Callable[[], Tensor]] | None = None,
) -> dict[str, Tensor]:
    """Each term of `weights` times its weight, averaged over the crops; their sum is the loss.

    Computed in fp32, also where autocast is on around it.

    Args:
        weights: from the names in `TERMS` and `more` to weights of at least 0.
        importance: of each crop, (N,).
        factors: by a term's name, how much each crop counts in it beside its importance, (N,).
        more: further terms by name, each a function that returns (N,); called only where its weight
            is above 0.

    Raises:
        ValueError: a weight above 0 names no term.
    """
    terms: dict[str, Callable[[], Tensor]] = {
        name: lambda term=term: term(sharpened, clean)  # type: ignore[misc]
        for name, term in TERMS.items()
    }
    terms |= more or {}
    wanted = {name: weight for name, weight in weights.items() if weight > 0}
    unknown = sorted(wanted.keys() - terms.keys())
    if unknown:
        raise ValueError(f"no loss term {', '.join(unknown)}. There are {', '.join(terms)}.")
    counts = {name: importance * factor for name, factor in (factors or {}).items()}
    with torch.autocast(sharpened.device.type, enabled=False):
        return {
            name: weight * (counts.get(name, importance) * terms[name]()).mean()
            for name, weight in wanted.items()
        }


def _precise(x: Tensor) -> Tensor:
    """Half precision brought to fp32; other types as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _difference(first: Tensor, second: Tensor) -> Tensor:
    return _precise(first) - _precise(second)

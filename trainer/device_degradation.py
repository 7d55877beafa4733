"""The degradations of `operators` as batched tensor operations, for the device that trains.

Every picture of a batch goes through a chain of its own, the same as on the CPU (`sample_chain`);
pictures whose next steps are of one kind take them together. WebP goes through the CPU. Video
codecs are not here: crops that went through one come from a pack that the CPU made.

Between two steps levels are whole numbers in [0, 255], as they are between two operators on images,
so that both ways agree within `TOLERANCES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.device_jpeg import compress_jpeg_batch
from trainer.device_resampling import resample, resampling_matrix
from trainer.mixture import DEFAULT_MIXTURE, Mixture, sample_chain
from trainer.operators import defocus_kernel, motion_kernel
from trainer.steps import (
    Chain,
    Defocus,
    Gaussian,
    Halo,
    Jpeg,
    Motion,
    Noise,
    Rescale,
    Step,
    Video,
    WebP,
)

__all__ = ["TOLERANCES", "Tolerance", "carry_out_batch", "degrade_batch"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a step may be from its operator on a photograph, in levels of 255."""

    largest: float
    mean: float


TOLERANCES: dict[type[Step], Tolerance] = {
    Gaussian: Tolerance(largest=1, mean=0.01),
    Defocus: Tolerance(largest=1, mean=0.01),
    Motion: Tolerance(largest=1, mean=0.01),
    Halo: Tolerance(largest=1, mean=0.01),
    Rescale: Tolerance(largest=2, mean=0.3),  # OpenCV cuts off bits inside its bilinear sums
    Jpeg: Tolerance(largest=8, mean=0.02),
    WebP: Tolerance(largest=0, mean=0),
}
"""Noise is missing: it has the same statistics, and other numbers."""


def degrade_batch(
    clean: Tensor,
    *,
    seed: int,
    first_number: int,
    clean_share: float = 0.1,
    mixture: Mixture = DEFAULT_MIXTURE,
) -> Tensor:
    """Degrades training samples `first_number` and those that follow it.

    What becomes of a sample depends on the seed, its number and the device, not on its batch.

    Args:
        clean: (N, 3, H, W) uint8 RGB, on any device.

    Returns:
        A new tensor like it.

    Raises:
        ValueError: `clean` is not such a tensor, or the mixture draws a video codec.
    """
    chains = [
        sample_chain(seed, first_number + place, clean_share=clean_share, mixture=mixture)
        for place in range(len(clean))
    ]
    return carry_out_batch(chains, clean)


@torch.no_grad()
def carry_out_batch(chains: Sequence[Chain], clean: Tensor) -> Tensor:
    """Each picture of (N, 3, H, W) uint8 RGB after its own chain; a new tensor on its device.

    Raises:
        ValueError: not such a tensor, not one chain for each, or a chain with a video codec.
    """
    if clean.dim() != 4 or clean.shape[1] != 3 or clean.dtype != torch.uint8 or 0 in clean.shape:
        raise ValueError(
            f"pictures must be a (N, 3, H, W) uint8 tensor, not {tuple(clean.shape)} {clean.dtype}"
        )
    if len(chains) != len(clean):
        raise ValueError(f"{len(clean)} pictures need as many chains, not {len(chains)}")
    _require_no_video(chains)
    with _full_precision(clean.device):
        levels = clean.float()
        for turn in range(max(map(len, chains))):
            for kind, operate in _OPERATIONS.items():
                places = [
                    place
                    for place, chain in enumerate(chains)
                    if turn < len(chain) and isinstance(chain[turn], kind)
                ]
                if places:
                    steps = [chains[place][turn] for place in places]
                    index = torch.tensor(places, device=levels.device)
                    levels[index] = operate(levels[index], steps)
        return levels.to(torch.uint8)


def _require_no_video(chains: Sequence[Chain]) -> None:
    for chain in chains:
        for step in chain:
            if isinstance(step, Video) or isinstance(getattr(step, "between", None), Video):
                raise ValueError(
                    "video codecs run on the CPU only: give codec no share on the device, and mix "
                    "in a pack of crops that went through one"
                )


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """No autocast, and no TF32 in products: either would be levels off.

    Depthwise convolutions do not use TF32.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def _blur_gaussian(levels: Tensor, steps: Sequence[Gaussian]) -> Tensor:
    return _rounded(_gaussian(levels, [step.sigma_px for step in steps]))


def _add_halo(levels: Tensor, steps: Sequence[Halo]) -> Tensor:
    blurred = _gaussian(levels, [step.radius_px for step in steps])
    amount = levels.new_tensor([step.amount for step in steps])[:, None, None, None]
    return _rounded(levels + amount * (levels - blurred))


def _gaussian(levels: Tensor, sigmas_px: Sequence[float]) -> Tensor:
    """By a matrix for the rows and one for the columns, as exact at the border as inside."""
    sigma = levels.new_tensor(sigmas_px)
    # As cv2.GaussianBlur chooses its window for float pictures: 4 sigma on either side.
    radius = levels.new_tensor([(round(8 * s + 1) | 1) // 2 for s in sigmas_px])
    offsets = torch.arange(-int(radius.max()), int(radius.max()) + 1, device=levels.device)
    weights = torch.exp(-offsets.square() / (2 * sigma[:, None].square()))
    weights = weights * (offsets.abs() <= radius[:, None])
    weights = weights / weights.sum(dim=1, keepdim=True)
    rows, columns = (_band(weights, offsets, length) for length in levels.shape[-2:])
    return rows[:, None] @ (levels @ columns[:, None].transpose(2, 3))


def _band(weights: Tensor, offsets: Tensor, length: int) -> Tensor:
    """(N, length, length): each row has the weights (N, T) around its place, reflected inside."""
    places = torch.arange(length, device=weights.device)
    sources = _reflected(places[:, None] + offsets, length)
    count = len(weights)
    return weights.new_zeros(count, length, length).scatter_add(
        2, sources.expand(count, -1, -1), weights[:, None].expand(-1, length, -1).contiguous()
    )


def _reflected(places: Tensor, length: int) -> Tensor:
    """Places outside 0 to length - 1, reflected about the first and last one, however far."""
    if length == 1:
        return torch.zeros_like(places)
    period = 2 * (length - 1)
    places = places.remainder(period)
    return torch.minimum(places, period - places)


def _blur_defocus(levels: Tensor, steps: Sequence[Defocus]) -> Tensor:
    return _convolved(levels, [torch.from_numpy(defocus_kernel(s.radius_px)) for s in steps])


def _blur_motion(levels: Tensor, steps: Sequence[Motion]) -> Tensor:
    kernels = [motion_kernel(s.length_px, s.angle_deg, s.bend_deg) for s in steps]
    return _convolved(levels, [torch.from_numpy(kernel) for kernel in kernels])


def _convolved(levels: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """One convolution, each plane a group with a kernel of its own, borders reflected."""
    half = max(len(kernel) for kernel in kernels) // 2
    largest = torch.stack(
        [F.pad(kernel, [half - len(kernel) // 2] * 4).flip(0, 1) for kernel in kernels]
    ).to(levels.device)
    count, channels, height, width = levels.shape
    around = torch.arange(-half, max(height, width) + half, device=levels.device)
    rows = _reflected(around[: height + 2 * half], height)
    columns = _reflected(around[: width + 2 * half], width)
    padded = levels[:, :, rows][:, :, :, columns]
    convolved = F.conv2d(
        padded.reshape(1, count * channels, *padded.shape[2:]),
        largest.repeat_interleave(channels, dim=0)[:, None],
        groups=count * channels,
    )
    return _rounded(convolved.view_as(levels))


def _add_noise(levels: Tensor, steps: Sequence[Noise]) -> Tensor:
    """Numbers of each step's own seed, so that they do not depend on the batch."""
    generator = torch.Generator(levels.device)
    noise = torch.empty_like(levels)
    for plane, step in zip(noise, steps, strict=True):
        plane.normal_(generator=generator.manual_seed(step.seed))
    read, shot = (
        levels.new_tensor(values)[:, None, None, None]
        for values in ([step.read for step in steps], [step.shot for step in steps])
    )
    return _rounded(levels + noise * torch.sqrt(read.square() + shot.square() * levels / 255))


def _compress_jpeg(levels: Tensor, steps: Sequence[Jpeg], sizes: Tensor | None = None) -> Tensor:
    quality = levels.new_tensor([step.quality for step in steps])
    is_subsampled = torch.tensor([step.is_subsampled for step in steps], device=levels.device)
    return compress_jpeg_batch(levels, quality, is_subsampled, sizes)


def _compress_webp(levels: Tensor, steps: Sequence[WebP]) -> Tensor:
    """By the operator itself, one picture after the other: there are few, and the file is small."""
    images = levels.to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    compressed = [step(image) for step, image in zip(steps, images, strict=True)]
    return torch.from_numpy(np.stack(compressed)).permute(0, 3, 1, 2).to(levels)


def _rescale(levels: Tensor, steps: Sequence[Rescale]) -> Tensor:
    """Down and up by matrices; the small pictures share planes of the largest one's size."""
    if any(step.enlarge == "area" for step in steps):
        raise ValueError("area is for shrinking only; enlarge by bilinear")
    side = levels.shape[-2:]
    small = [[max(1, round(length / step.factor)) for length in side] for step in steps]
    sizes = levels.new_tensor(small)
    full = levels.new_tensor(side).expand_as(sizes)
    padded = [16 * math.ceil(max(size[axis] for size in small) / 16) for axis in (0, 1)]
    shrinkers, enlargers = [step.shrink for step in steps], [step.enlarge for step in steps]
    down = [
        resampling_matrix(
            shrinkers, full[:, axis], sizes[:, axis], from_padded=side[axis], to_padded=padded[axis]
        )
        for axis in (0, 1)
    ]
    up = [
        resampling_matrix(
            enlargers, sizes[:, axis], full[:, axis], from_padded=padded[axis], to_padded=side[axis]
        )
        for axis in (0, 1)
    ]
    shrunk = resample(levels, down[0], down[1], shrinkers)
    places = [place for place, step in enumerate(steps) if step.between]
    if places:
        index = torch.tensor(places, device=levels.device)
        between = [step.between for step in steps if isinstance(step.between, Jpeg)]
        shrunk[index] = _compress_jpeg(shrunk[index], between, sizes[index])
    return resample(shrunk, up[0], up[1], enlargers)


def _rounded(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255)


_OPERATIONS: dict[type[Step], Callable[[Tensor, Sequence[Any]], Tensor]] = {
    Gaussian: _blur_gaussian,
    Defocus: _blur_defocus,
    Motion: _blur_motion,
    Noise: _add_noise,
    Jpeg: _compress_jpeg,
    WebP: _compress_webp,
    Halo: _add_halo,
    Rescale: _rescale,
}

"""The fusion of whole clips as `service.model.fusion` does it, in PyTorch and with gradients.

Every frame is fused with those after it, which were fused before, and with the one before it, which
was not: the gradient of an early frame's error goes through the later ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.model.neighbours import LARGEST_DIFFERENCE, NEIGHBOURS

__all__ = ["Clips", "fused_clips", "moved_planes"]


@dataclass(frozen=True, slots=True)
class Clips:
    """Crops of clips, N of T frames each; luma in levels of 255, fp32.

    Attributes:
        sharpened, seen: (N, T, H, W), even sides; `seen` is what came.
        motion: (N, T, K, 2, H / 2, W / 2), from each frame to each of its `NEIGHBOURS`, in px of
            the whole size, across and down.
    """

    sharpened: Tensor
    seen: Tensor
    motion: Tensor


def fused_clips(
    network: nn.Module, clips: Clips, *, precision: torch.dtype, cuts: Tensor | None = None
) -> Tensor:
    """What the neighbours add to the sharpened luma: (N, T, H, W) fp32, levels.

    Args:
        network: a `FusionNetwork`.
        precision: in which it calculates.
        cuts: (N, T) bool, where what follows is of another scene; None = nowhere.
    """
    count, frames = clips.sharpened.shape[:2]
    nothing = torch.zeros_like(clips.sharpened[:, :1])
    fused: dict[int, Tensor] = {}
    added: dict[int, Tensor] = {}
    for at in range(frames - 1, -1, -1):
        sharpened, seen = clips.sharpened[:, at : at + 1], clips.seen[:, at : at + 1]
        planes, differences = [sharpened, seen - sharpened], []
        for number, offset in enumerate(NEIGHBOURS):
            there = at + offset
            if not 0 <= there < frames:
                planes += [nothing] * 3
                differences.append(nothing)
                continue
            alone = clips.sharpened[:, there, None]
            beside = torch.cat([fused.get(there, alone), alone, clips.seen[:, there, None]], 1)
            if cuts is not None:
                is_cut = cuts[:, min(at, there)].view(count, 1, 1, 1)
                beside = torch.where(is_cut, beside.roll(1, 0), beside)
            beside = moved_planes(beside, clips.motion[:, at, number])
            planes += [
                beside[:, :1] - sharpened,
                beside[:, :1] - beside[:, 1:2],
                beside[:, 2:] - seen,
            ]
            differences.append(planes[-3])
        with torch.autocast(
            sharpened.device.type, precision, enabled=precision is not torch.float32
        ):
            weights = network(torch.cat(planes, 1))
        limited = torch.cat(differences, 1).clamp(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)
        added[at] = (weights.float() * limited).sum(1, keepdim=True)
        fused[at] = sharpened + added[at]
    return torch.cat([added[at] for at in range(frames)], 1)


def moved_planes(planes: Tensor, motion: Tensor) -> Tensor:
    """`service.model.alignment.moved` for planes (N, C, H, W) and motion (N, 2, H / 2, W / 2)."""
    height, width = planes.shape[-2:]
    by = F.interpolate(motion, scale_factor=2, mode="bilinear")
    across = by[:, 0] + torch.arange(width, dtype=by.dtype, device=by.device)
    down = by[:, 1] + torch.arange(height, dtype=by.dtype, device=by.device)[:, None]
    places = torch.stack([across * (2 / (width - 1)) - 1, down * (2 / (height - 1)) - 1], -1)
    return F.grid_sample(planes, places, mode="bicubic", padding_mode="border", align_corners=True)

"""Starts a student from a smaller one, so that it begins by computing what that one does.

After Net2Net (Chen et al. 2016, arXiv 1511.05641), in its simplest form: what is new has no effect
until it is trained, with one exception. New blocks are scaled by zero, and new channels are read by
weights of zero. New experts are copies; where there were several, copies that differ a little, so
that training parts them. The exception are weights for a picture's squares: they change its
description, and what a student does by half a decibel.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from service.model.student import StudentConfig, StudentNetEnhanced, build_student
from trainer.routing import EXPERT_KINDS, has_experts_of_kinds

__all__ = ["can_grow", "grown", "resized_experts", "restart_expert"]

_GROWING = ("channels", "blocks", "experts", "normalisation", "pooling")
# New channels are a little more than nothing, so that the weights that read them have a gradient.
_NEW_CHANNEL_SCALE = 0.1
# How much copies of an expert differ, in standard deviations of the weights that are copied.
_KERNEL_SPREAD = 0.1
_ROUTER_SPREAD = 0.5


def can_grow(source: StudentConfig, target: StudentConfig) -> bool:
    """Whether `grown` can start the one from the other.

    The target has at least as many channels and blocks. The source has as many experts or one, or
    both have several for each of `EXPERT_KINDS`, the one a multiple of the other. The squares of
    pictures are pooled alike, or by the target with weights. All else is the same.
    """
    return (
        all(
            getattr(source, field.name) == getattr(target, field.name)
            for field in fields(StudentConfig)
            if field.name not in _GROWING
        )
        and source.channels <= target.channels
        and source.blocks <= target.blocks
        and target.pooling in (source.pooling, "weighted")
        and _can_resize_experts(source.experts, target.experts)
    )


def _can_resize_experts(count: int, wanted: int) -> bool:
    if count in (1, wanted):
        return True
    are_of_kinds = has_experts_of_kinds(count) and has_experts_of_kinds(wanted)
    return are_of_kinds and max(count, wanted) % min(count, wanted) == 0


@torch.no_grad()
def grown(source: StudentNetEnhanced, target: StudentConfig) -> StudentNetEnhanced:
    """A student of the shape `target` that computes what `source` does, up to rounding.

    Its normalisation is the source's. Where channels are added, the spatial attention takes the
    largest of more of them, and the result is only nearly the same; so it is where each kind gets
    more experts, or squares get weights. Where it gets fewer, each is the mean of several, which
    is a start and no more.

    Raises:
        ValueError: the shapes do not fit, see `can_grow`.
    """
    if not can_grow(source.config, target):
        raise ValueError(f"{target} cannot be grown from {source.config}")
    network = build_student(replace(target, normalisation=source.config.normalisation))
    old, new = source.state_dict(), network.state_dict()
    for name, tensor in new.items():
        if name in old:
            _place(name, old[name], tensor, width=source.config.channels)
        elif name.endswith("second.scale"):
            # Not the kernel: InstanceNorm would bring the least that becomes of it to full size.
            tensor.zero_()
    if network.spatial_attention is not None:
        # The mean of the channels is over more of them now.
        new["spatial_attention.window.weight"][:, 0] *= target.channels / source.config.channels
    network.load_state_dict(new)
    return network


@torch.no_grad()
def restart_expert(network: StudentNetEnhanced, expert: int, *, like: int) -> None:
    """Gives an expert the kernels of another one, in every layer.

    For one that has learned to correct nothing: it is its own best neighbour, and training does not
    move it from there. Where a kind has several, each is given those of one of the other's.

    Args:
        expert: the number of its kind.
        like: the same, of the other one.
    """
    kinds = len(EXPERT_KINDS)
    for name, parameter in network.named_parameters():
        if name.endswith("kernel"):
            parameter[expert::kinds] = parameter[like::kinds]


def resized_experts(old: Tensor, count: int, *, spread: float) -> Tensor:
    """For `count` experts what (experts, ...) is for another number of them.

    Copies, or the means of those that become one. Copies of one of several experts differ by normal
    noise of which each expert's copies have none on average.

    Args:
        spread: the noise's standard deviation, in those of `old`.
    """
    if len(old) > count:
        return old.reshape(-1, count, *old.shape[1:]).mean(dim=0)
    copies = old.repeat(count // len(old), *[1] * (old.dim() - 1))
    if len(old) in (1, count):
        return copies
    generator = torch.Generator(old.device).manual_seed(0)
    noise = torch.randn(len(copies) // len(old), *old.shape, generator=generator, device=old.device)
    noise -= noise.mean(dim=0, keepdim=True)
    return copies + spread * old.std() * noise.reshape(copies.shape)


def _place(name: str, old: Tensor, new: Tensor, *, width: int) -> None:
    """Writes `old` into the first channels of `new`; the rest gives no effect."""
    if name.endswith("kernel"):
        outputs, inputs = old.shape[1:3]
        new[:, :outputs, inputs:] = 0
        new[:, :outputs, :inputs] = resized_experts(old, len(new), spread=_KERNEL_SPREAD)
    elif name.startswith("head"):
        new[width:] = 0
        new[: len(old)] = old
    elif name.startswith("router.output") and len(old) == 1 < len(new):
        pass  # experts that are alike may be mixed in any shares
    elif name.startswith("router.output"):
        spread = 0.0 if name.endswith("bias") else _ROUTER_SPREAD
        new[:] = resized_experts(old, len(new), spread=spread)
    else:
        if name.endswith("scale"):
            new *= _NEW_CHANNEL_SCALE
        elif name.endswith("excite.weight"):
            new[:, old.shape[1] :] = 0
        new[tuple(slice(0, side) for side in old.shape)] = old

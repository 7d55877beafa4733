"""Starts a student from a smaller one, so that it begins by computing what that one does.

After Net2Net (Chen et al. 2016, arXiv 1511.05641), in its simplest form: what is new has no effect
until it is trained. New experts are copies, new blocks are scaled by zero, and new channels are
read by weights of zero.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from service.model.student import StudentConfig, StudentNetEnhanced, build_student

__all__ = ["can_grow", "grown", "restart_expert"]

_GROWING = ("channels", "blocks", "experts", "normalisation")
# New channels are a little more than nothing, so that the weights that read them have a gradient.
_NEW_CHANNEL_SCALE = 0.1


def can_grow(source: StudentConfig, target: StudentConfig) -> bool:
    """Whether `grown` can start the one from the other.

    It has at least as many channels and blocks, and as many experts or one; all else is the same.
    """
    return (
        all(
            getattr(source, field.name) == getattr(target, field.name)
            for field in fields(StudentConfig)
            if field.name not in _GROWING
        )
        and source.channels <= target.channels
        and source.blocks <= target.blocks
        and source.experts in (1, target.experts)
    )


@torch.no_grad()
def grown(source: StudentNetEnhanced, target: StudentConfig) -> StudentNetEnhanced:
    """A student of the shape `target` that computes what `source` does, up to rounding.

    Its normalisation is the source's. Where channels are added, the spatial attention takes the
    largest of more of them, and the result is only nearly the same.

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
    move it from there.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("kernel"):
            parameter[expert] = parameter[like]


def _place(name: str, old: Tensor, new: Tensor, *, width: int) -> None:
    """Writes `old` into the first channels of `new`; the rest gives no effect."""
    if name.endswith("kernel"):
        outputs, inputs = old.shape[1:3]
        new[:, :outputs, inputs:] = 0
        new[:, :outputs, :inputs] = old
    elif name.startswith("head"):
        new[width:] = 0
        new[: len(old)] = old
    elif name.startswith("router.output") and len(old) != len(new):
        pass  # experts that are alike may be mixed in any shares
    else:
        if name.endswith("scale"):
            new *= _NEW_CHANNEL_SCALE
        elif name.endswith("excite.weight"):
            new[:, old.shape[1] :] = 0
        new[tuple(slice(0, side) for side in old.shape)] = old

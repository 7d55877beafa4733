"""Feature distillation: the student learns to see in a picture what the teacher sees.

FitNets (arXiv 1412.6550) compares a student's layer with a teacher's through a learned regressor,
since the two have different channels that mean different things. Here the regressor is a 1x1
convolution per teacher layer. What is compared are patterns, not magnitudes: on both sides each
channel of each crop is brought to zero mean and unit variance over its positions, and half of the
mean squared difference is taken, which is 1 - Pearson's correlation of the two channels. This is
PKD (arXiv 2207.02039), except that its statistics are those of the batch and ours those of the
crop, so that a crop's loss does not depend on its neighbours. Layers whose magnitudes differ a
hundredfold count alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FeatureAdapters", "correlation_distance"]

_NORM_EPSILON = 1e-5


class FeatureAdapters(nn.Module):
    """The loss between a student's features and a teacher's, and what is learned for it.

    The adapters are trained with the student and left behind at export. They have no bias: the
    normalisation would remove it.

    Args:
        student_channels: of the student's features.
        teacher_channels: of each teacher layer that is compared, by its name.

    Raises:
        ValueError: no layer is named.
    """

    def __init__(self, student_channels: int, teacher_channels: Mapping[str, int]) -> None:
        super().__init__()
        if not teacher_channels:
            raise ValueError("feature distillation needs at least one layer of the teacher")
        self.student_channels = student_channels
        self.layers = tuple(teacher_channels)
        self.adapters = nn.ModuleDict(
            {
                _module_name(name): nn.Conv2d(student_channels, channels, 1, bias=False)
                for name, channels in teacher_channels.items()
            }
        )

    def forward(self, student_features: Tensor, teacher_features: Mapping[str, Tensor]) -> Tensor:
        """The loss of each crop, averaged over layers and their channels.

        The finer of the two sides is brought to the resolution of the coarser by area averaging.

        Args:
            student_features: (N, student_channels, H, W) float.
            teacher_features: by layer, (N, channels, H', W') float, of the same crops; no gradient
                flows to them.

        Returns:
            (N,) fp32, 0 where every channel is the teacher's up to a positive scale and a shift, 1
            where the two are unrelated, 2 where they are opposite.

        Raises:
            ValueError: a layer is missing, or a side has other channels than announced.
        """
        missing = [name for name in self.layers if name not in teacher_features]
        if missing:
            raise ValueError(
                f"the teacher's features lack {', '.join(missing)}; "
                f"given were {', '.join(teacher_features) or 'none'}"
            )
        _require_channels("the student", student_features, self.student_channels)
        losses = [
            self._layer_loss(name, student_features, teacher_features[name].detach())
            for name in self.layers
        ]
        return torch.stack(losses).mean(dim=0)

    def _layer_loss(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        adapter = self.adapters[_module_name(name)]
        assert isinstance(adapter, nn.Conv2d)
        _require_channels(f"the teacher's {name}", teacher, adapter.out_channels)
        height, width = (
            min(lengths) for lengths in zip(student.shape[-2:], teacher.shape[-2:], strict=True)
        )
        # Averaging commutes with a 1x1 convolution, which is cheaper on fewer positions.
        adapted = adapter(_averaged(student, height, width))
        return correlation_distance(adapted, _averaged(teacher, height, width))


def correlation_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - Pearson's correlation over positions, averaged over channels.

    As half of the mean squared difference of the normalised channels, with 1e-5 added to each
    variance: a channel that is flat on one side costs 1/2 and has next to no gradient, one that is
    flat on both costs 0.

    Args:
        first: (N, C, H, W) float.
        second: the same.

    Returns:
        (N,) in [0, 2], fp32 (fp64 for fp64).
    """
    difference = _normalised(first) - _normalised(second)
    return difference.square().mean(dim=(1, 2, 3)) / 2


def _normalised(x: Tensor) -> Tensor:
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):
        # A GroupNorm of one channel a group; `F.instance_norm` has slower kernels.
        return torch.group_norm(x, x.shape[1], eps=_NORM_EPSILON)


def _averaged(x: Tensor, height: int, width: int) -> Tensor:
    return x if x.shape[-2:] == (height, width) else F.adaptive_avg_pool2d(x, (height, width))


def _module_name(layer: str) -> str:
    """A layer's name as a key of `ModuleDict`, which takes no dots."""
    return layer.replace(".", "_")


def _require_channels(side: str, features: Tensor, channels: int) -> None:
    if features.ndim != 4 or features.shape[1] != channels:
        raise ValueError(
            f"{side} gave features of shape {tuple(features.shape)}, expected (N, {channels}, H, W)"
        )

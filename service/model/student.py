"""StudentNetEnhanced: the small network that turns blurred pixels into sharp ones.

This module owns the network and its named sizes. It does not pad, clamp, load files or know about
images: see `sharpener` for the path from image to image and `checkpoint` for the file.

The shape follows the residual students that are usual for this task (residual blocks with
InstanceNorm and LeakyReLU, channel attention after SE-Net, arXiv 1709.01507, spatial attention
after CBAM, arXiv 1807.06521). Ours differs in three ways: pixels are unshuffled first (arXiv
1609.05158, reversed), so that the work is done at 1/r^2 of the positions; the network adds a
correction to its input, which starts as zero, so that an untrained student is the identity; and the
normalisation can be frozen, after which it folds into the convolutions and the result no longer
depends on the frame size.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ARCHITECTURE", "SIZES", "StudentConfig", "StudentNetEnhanced", "build_student"]

ARCHITECTURE = "StudentNetEnhanced"
_NORM_EPSILON = 1e-5
_NORM_MOMENTUM = 0.02
_SPATIAL_KERNEL_PX = 7

Normalisation = Literal["instance", "frozen"]


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """The shape of a student.

    Attributes:
        channels: width of the residual blocks, 4 to 256.
        unshuffle: r; the blocks work on 1/r^2 of the positions, 1 to 8.
        blocks: residual blocks, 1 to 64.
        reduction: the channel attention's bottleneck is channels / reduction, 1 to channels.
        negative_slope: of every LeakyReLU, 0 to 1.
        normalisation: `instance` normalises by each picture's own statistics; `frozen` by the
            running ones, which fold into the convolutions.
    """

    channels: int
    unshuffle: int
    blocks: int = 6
    reduction: int = 4
    negative_slope: float = 0.1
    normalisation: Normalisation = "instance"

    def __post_init__(self) -> None:
        ranges = {
            "channels": (4, 256),
            "unshuffle": (1, 8),
            "blocks": (1, 64),
            "reduction": (1, self.channels),
            "negative_slope": (0.0, 1.0),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {value}")
        if self.normalisation not in ("instance", "frozen"):
            raise ValueError(
                f"normalisation must be 'instance' or 'frozen', not {self.normalisation!r}"
            )

    @property
    def size_multiple(self) -> int:
        """Height and width of the network's input must be multiples of this, in px."""
        return self.unshuffle

    @property
    def receptive_radius_px(self) -> int:
        """How far, in px, a pixel's correction looks, attention's global average aside."""
        convolutions = 2 * self.blocks + 3
        return self.unshuffle * (convolutions + _SPATIAL_KERNEL_PX // 2 + 1)

    def to_json(self) -> dict[str, int | float | str]:
        return asdict(self)


SIZES: dict[str, StudentConfig] = {
    "nano": StudentConfig(channels=16, unshuffle=4),
    "small": StudentConfig(channels=16, unshuffle=2),
    "base": StudentConfig(channels=48, unshuffle=2),
    # The published network's shape (no unshuffling), kept as the yardstick for speed.
    "reference": StudentConfig(channels=32, unshuffle=1),
}


class _NormalisedConvolution(nn.Module):
    """3x3 convolution, then InstanceNorm with a learned scale and shift and running statistics.

    With `is_frozen` the running statistics replace the picture's own and are folded into the kernel
    on the fly: one convolution, no pass over memory for the norm. Statistics are computed in fp32
    whatever the input's type.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, channels: int, *, is_frozen: bool) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(channels, channels, 3, 3))
        nn.init.kaiming_normal_(self.kernel, a=0.1)
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))
        self.is_frozen = is_frozen

    def forward(self, x: Tensor) -> Tensor:
        if self.is_frozen:
            return F.conv2d(x, *self._folded_weights(), padding=1)
        y = F.conv2d(x, self.kernel, padding=1)
        # InstanceNorm is a GroupNorm of one channel a group, whose kernels are the faster ones.
        scale, shift = self.scale.to(y.dtype), self.shift.to(y.dtype)
        if not self.training:
            return torch.group_norm(y, y.shape[1], scale, shift, _NORM_EPSILON)
        count, channels, height, width = y.shape
        normalised, mean, reciprocal = torch.native_group_norm(
            y, scale, shift, count, channels, height * width, channels, _NORM_EPSILON
        )
        with torch.no_grad():
            variance = reciprocal.float().square().reciprocal() - _NORM_EPSILON
            self.running_mean.lerp_(mean.float().mean(dim=0), _NORM_MOMENTUM)
            self.running_variance.lerp_(variance.mean(dim=0), _NORM_MOMENTUM)
        return normalised

    def _folded_weights(self) -> tuple[Tensor, Tensor]:
        gain = self.scale * torch.rsqrt(self.running_variance + _NORM_EPSILON)
        return self.kernel * gain[:, None, None, None], self.shift - self.running_mean * gain

    def folded(self) -> nn.Conv2d:
        """The one convolution that a frozen layer amounts to."""
        channels = len(self.kernel)
        convolution = nn.Conv2d(channels, channels, 3, padding=1)
        kernel, bias = self._folded_weights()
        convolution.weight = nn.Parameter(kernel.detach(), requires_grad=False)
        convolution.bias = nn.Parameter(bias.detach(), requires_grad=False)
        return convolution


class _ResidualBlock(nn.Module):
    """x + norm(conv(leaky(norm(conv(x)))))."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        is_frozen = config.normalisation == "frozen"
        self.first = _NormalisedConvolution(config.channels, is_frozen=is_frozen)
        self.second = _NormalisedConvolution(config.channels, is_frozen=is_frozen)
        self.negative_slope = config.negative_slope

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.first(x)
        correction: Tensor = self.second(F.leaky_relu(inner, self.negative_slope))
        return x + correction


class _ChannelAttention(nn.Module):
    """Scales each channel by what the whole picture holds of it."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        narrow = max(1, config.channels // config.reduction)
        self.squeeze = nn.Conv2d(config.channels, narrow, 1)
        self.excite = nn.Conv2d(narrow, config.channels, 1)
        self.negative_slope = config.negative_slope

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """`pooled` (N, C, 1, 1) is the whole picture's mean where `x` is a part of it."""
        if pooled is None:
            pooled = x.mean(dim=(2, 3), keepdim=True)
        gate = self.excite(F.leaky_relu(self.squeeze(pooled), self.negative_slope))
        return x * torch.sigmoid(gate)


class _SpatialAttention(nn.Module):
    """Scales each position by the mean and the largest of its channels, seen in a 7x7 window."""

    def __init__(self) -> None:
        super().__init__()
        self.window = nn.Conv2d(2, 1, _SPATIAL_KERNEL_PX, padding=_SPATIAL_KERNEL_PX // 2)

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.window(summary))


class StudentNetEnhanced(nn.Module):
    """Pixels (N, 3, H, W), float, RGB in [0, 1] -> sharpened pixels of the same shape, not clamped.

    H and W must be multiples of `config.size_multiple`. The refinement layer is one depthwise 3x3
    convolution on the unshuffled correction: a dense one there would cost as much as several blocks
    at r = 4.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        planes = 3 * config.unshuffle**2
        self.head = nn.Conv2d(planes, config.channels, 3, padding=1)
        self.blocks = nn.ModuleList(_ResidualBlock(config) for _ in range(config.blocks))
        self.channel_attention = _ChannelAttention(config)
        self.spatial_attention = _SpatialAttention()
        self.tail = nn.Conv2d(config.channels, planes, 3, padding=1)
        self.refinement = nn.Conv2d(planes, planes, 3, padding=1, groups=planes)
        nn.init.zeros_(self.refinement.weight)
        nn.init.zeros_(self.refinement.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.tail.weight, std=1e-3)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def features(self, pixels: Tensor) -> Tensor:
        """What the residual blocks see in the picture.

        Returns:
            (N, channels, H / r, W / r), the features after the last residual block, before
            attention.
        """
        x: Tensor = self.head(F.pixel_unshuffle(pixels, self.config.unshuffle))
        for block in self.blocks:
            x = block(x)
        return x

    def correction(self, pixels: Tensor, pooled: Tensor | None = None) -> Tensor:
        """What `forward` adds to its input, (N, 3, H, W).

        Args:
            pooled: (N, channels, 1, 1), the mean of the whole picture's `features`, where `pixels`
                are a tile of it; None = their own.
        """
        return self._correction_from(self.features(pixels), pooled)

    def forward_with_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The sharpened pixels and the features that they were made from, for distillation."""
        features = self.features(pixels)
        return pixels + self._correction_from(features), features

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels + self.correction(pixels)

    def _correction_from(self, features: Tensor, pooled: Tensor | None = None) -> Tensor:
        x = self.spatial_attention(self.channel_attention(features, pooled))
        coarse = self.tail(x)
        fine = coarse + self.refinement(F.leaky_relu(coarse, self.config.negative_slope))
        return F.pixel_shuffle(fine, self.config.unshuffle)

    def freeze_normalisation(self) -> None:
        """From here on, normalise by the running statistics; training may go on."""
        for module in self.modules():
            if isinstance(module, _NormalisedConvolution):
                module.is_frozen = True

    def folded(self) -> StudentNetEnhanced:
        """A copy for inference whose frozen normalisations are part of the convolutions' weights.

        A student with picture statistics is copied as it is.
        """
        network = copy.deepcopy(self)
        for block in network.blocks:
            for name in ("first", "second"):
                layer = getattr(block, name)
                if layer.is_frozen:
                    setattr(block, name, layer.folded())
        return network


def build_student(config: StudentConfig) -> StudentNetEnhanced:
    """A fresh student; its output is within a few hundredths of its input until it is trained."""
    return StudentNetEnhanced(config)

"""The network that decides how much of the frames around a frame goes into it.

A codec at a low bit rate spreads a picture over several frames: what it left out of one comes with
the next ones. A B-frame has less than the frames on both sides of it. A sensor's noise is another
one in each frame. So the frames around it hold what one frame lacks, once they are moved to where
its things are (`alignment`). From the last frame to the first, each is given what the ones after it
gathered: recursive, from the future to the past, as one half of BasicVSR (Chan et al., CVPR 2021),
but with nothing else to hand on than the fused picture. The one before is given as it is.

The network predicts a weight for each neighbour and pixel and no colour of its own, as kernel
prediction does for bursts (Mildenhall et al., Burst Denoising with Kernel Prediction Networks, CVPR
2018), here with one tap, on 2x2 pixels as one position, and with gains for the features by what is
measured over the whole picture:

    fused = sharpened + sum over k of weight[k] * clip(moved fused neighbour k - sharpened)

With weights of 0 a frame stays what it is, as where nothing moves and nothing is renewed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.model.neighbours import LARGEST_DIFFERENCE, NEIGHBOURS, PLANES

__all__ = ["FusionConfig", "FusionNetwork"]

_UNSHUFFLE = 2
_STATISTICS_WIDTH = 32
_DIFFERENCE_SCALE = 4.0  # levels that are 1 in the network
_NO_STATISTIC = 0.05  # levels, under the logarithm


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """The shape: features a position, and 3x3 convolutions before the last one."""

    width: int = 32
    depth: int = 3

    def to_json(self) -> dict[str, int]:
        """As the file's header has it."""
        return asdict(self)


class FusionNetwork(nn.Module):
    """Planes -> weights.

    Planes (N, 2 + 3 K, H, W) fp32 in levels of 255, luma of BT.601, even sides, of K `NEIGHBOURS`:
    the sharpened frame; the frame as it came less the sharpened one; for each neighbour, three: the
    moved fused one less the sharpened frame, the moved fused one less the moved sharpened one, the
    moved one as it came less the frame as it came. A neighbour that is not there has zeros.
    Weights: (N, K, H, W) fp32. Cut to 0 to 1, so that an error that is handed on from frame to
    frame cannot grow; not in training mode, where what is below 0 would learn nothing.
    """

    def __init__(self, config: FusionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FusionConfig()
        widths = [PLANES * _UNSHUFFLE**2] + [config.width] * config.depth
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )
        self.last = nn.Conv2d(config.width, len(NEIGHBOURS) * _UNSHUFFLE**2, 3, padding=1)
        gains = nn.Linear(_STATISTICS_WIDTH, config.depth * config.width)
        self.gains = nn.Sequential(nn.Linear(PLANES, _STATISTICS_WIDTH), nn.ReLU(), gains)
        for zero in (self.last, gains):
            nn.init.zeros_(zero.weight)
            if zero.bias is not None:
                nn.init.zeros_(zero.bias)

    def forward(self, planes: Tensor) -> Tensor:
        """See the class."""
        sharpened = planes[:, :1]
        others = planes[:, 1:].clamp(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)
        detail = sharpened - F.avg_pool2d(sharpened, 3, stride=1, padding=1)
        statistics = torch.cat([detail, others], 1).abs().mean((2, 3))
        gains = 1 + self.gains(torch.log(statistics + _NO_STATISTIC))
        gains = gains.view(len(planes), self.config.depth, self.config.width, 1, 1)
        features = torch.cat([sharpened / 64 - 2, others / _DIFFERENCE_SCALE], 1)
        features = F.pixel_unshuffle(features, _UNSHUFFLE)
        for number, convolution in enumerate(self.convolutions):
            features = F.relu(convolution(features) * gains[:, number])
        weights = F.pixel_shuffle(self.last(features), _UNSHUFFLE)
        return weights if self.training else weights.clamp(0, 1)

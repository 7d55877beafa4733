"""NAFNet, the teacher: "Simple Baselines for Image Restoration", arXiv 2204.04676.

The network is the published one, and so are the names of its tensors, so that the authors' weight
files load strictly. Three things are arranged otherwise, none of which changes a value: padding to
the size multiple happens outside (`trainer.teacher_file.teach`), layers work channels last, where
the layer norm is one fused kernel, and the blocks' learned factors are multiplied into kernels
instead of features. Dropout, 0 in every published model, is left out. The last layer starts as
zero, so that an untrained network is the identity.

Added are `unshuffle` and `kinds`. By the latter the network is told how a picture is degraded, by
the estimator that the students have: a NAFNet that must find out for itself hardly learns to.

Also here: the local statistics of TLC (arXiv 2112.04491) for whole pictures. Not here: files.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.model.estimator import DESCRIPTION_LENGTH, DegradationEstimator
from service.model.student import Answer, Router, StudentNetEnhanced
from trainer.growth import resized_experts

__all__ = ["ARCHITECTURE", "TEACHERS", "NAFNet", "NAFNetConfig", "with_local_statistics"]

ARCHITECTURE = "NAFNet"
_NORM_EPSILON = 1e-6
_WIDTHS = (2, 256)
_LEVELS = (1, 6)
_BLOCKS = (1, 64)
_UNSHUFFLES = (1, 2, 4)
_KINDS = (0, 64)
_ROUTER_SLOPE = 0.1


@dataclass(frozen=True, slots=True)
class NAFNetConfig:
    """The shape of a NAFNet.

    Attributes:
        width: channels at full resolution, 2 to 256; each level down has twice as many.
        encoder_blocks: blocks of each level on the way down, 1 to 64 each, 1 to 6 levels.
        middle_blocks: blocks at the lowest resolution, 1 to 64.
        decoder_blocks: blocks of each level on the way up, lowest resolution first; as many levels.
        unshuffle: 1, as published, or 2 or 4: the first layer sees a square of so many pixels as
            one position with 3 * unshuffle^2 channels, the last one writes such squares, and "full
            resolution" above means theirs. The blocks then cost a CPU a fraction.
        kinds: 0, as published, or how many kinds of degradation an estimator tells apart, 10 for
            those of `trainer.routing`. What it finds in a picture scales the channels of every
            block.

    Raises:
        ValueError: a value is out of its range.
    """

    width: int
    encoder_blocks: tuple[int, ...]
    middle_blocks: int
    decoder_blocks: tuple[int, ...]
    unshuffle: int = 1
    kinds: int = 0

    def __post_init__(self) -> None:
        _require_range("width", self.width, _WIDTHS)
        _require_range("middle_blocks", self.middle_blocks, _BLOCKS)
        _require_range("kinds", self.kinds, _KINDS)
        _require_range("the number of levels", len(self.encoder_blocks), _LEVELS)
        for name, blocks in (("encoder", self.encoder_blocks), ("decoder", self.decoder_blocks)):
            for count in blocks:
                _require_range(f"{name}_blocks of a level", count, _BLOCKS)
        if self.unshuffle not in _UNSHUFFLES:
            raise ValueError(f"unshuffle must be 1, 2 or 4, not {self.unshuffle}")
        if len(self.decoder_blocks) != len(self.encoder_blocks):
            raise ValueError(
                "decoder_blocks must have as many levels as encoder_blocks, "
                f"{len(self.encoder_blocks)}, not {len(self.decoder_blocks)}"
            )

    @property
    def size_multiple(self) -> int:
        """Height and width of the network's input must be multiples of this, in px."""
        return self.unshuffle << len(self.encoder_blocks)

    @property
    def feature_channels(self) -> dict[str, int]:
        """The layers that `NAFNet.forward_with_features` can return, and their channels."""
        levels = len(self.encoder_blocks)
        return {
            **{f"encoders.{level}": self.width << level for level in range(levels)},
            "middle_blks": self.width << levels,
            **{f"decoders.{step}": self.width << (levels - 1 - step) for step in range(levels)},
        }

    def to_json(self) -> dict[str, int | list[int]]:
        """Numbers and lists, as JSON has them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, int | list[int]]) -> NAFNetConfig:
        """What `to_json` wrote.

        Raises:
            TypeError: a value is missing, unknown, or not a number or list of numbers as it should.
            ValueError: a value is out of its range.
        """
        return cls(
            **{  # type: ignore[arg-type]
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
            }
        )


def _require_range(name: str, value: int, limits: tuple[int, int]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"{name} must be {limits[0]} to {limits[1]}, not {value}")


TEACHERS: dict[str, NAFNetConfig] = {
    # The published ones, named for the data that they were trained on.
    "gopro-width32": NAFNetConfig(32, (1, 1, 1, 28), 1, (1, 1, 1, 1)),
    "gopro-width64": NAFNetConfig(64, (1, 1, 1, 28), 1, (1, 1, 1, 1)),
    "sidd-width32": NAFNetConfig(32, (2, 2, 4, 8), 12, (2, 2, 2, 2)),
    "sidd-width64": NAFNetConfig(64, (2, 2, 4, 8), 12, (2, 2, 2, 2)),
    "reds-width64": NAFNetConfig(64, (1, 1, 1, 28), 1, (1, 1, 1, 1)),
    # Ours: for a GPU, in hours and within 20 MB; for a CPU, in hours; for tests.
    "width16": NAFNetConfig(16, (1, 1, 1, 28), 1, (1, 1, 1, 1), kinds=10),
    "compact": NAFNetConfig(32, (1, 4), 6, (1, 2), unshuffle=2, kinds=10),
    "tiny": NAFNetConfig(8, (1, 1), 1, (1, 1)),
}


class _LayerNorm2d(nn.Module):
    """Normalises each position over its channels, in fp32, then scales and shifts each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        positions = x.permute(0, 2, 3, 1)
        shape = (x.shape[1],)
        normalised = F.layer_norm(positions, shape, self.weight, self.bias, _NORM_EPSILON)
        return normalised.permute(0, 3, 1, 2)


def _gate(x: Tensor) -> Tensor:
    """SimpleGate: one half of the channels times the other."""
    first, second = x.chunk(2, dim=1)
    return first * second


class _Diagnosis(nn.Module):
    """How pictures (N, 3, H, W) are degraded.

    A description and each kind's share, side by side (N, DESCRIPTION_LENGTH + kinds), and the
    logarithms of the shares up to a constant, (N, kinds).
    """

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.estimator = DegradationEstimator()
        self.router = Router(kinds, negative_slope=_ROUTER_SLOPE)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        description = self.estimator(pixels)
        shares = self.router(description)
        return torch.cat((description, F.softmax(shares.float(), dim=1)), dim=1), shares


class _Modulation(nn.Module):
    """From a diagnosis to what is added to the two scalings of a block, (N, channels, 1, 1) each.

    It starts as zero.
    """

    def __init__(self, channels: int, *, kinds: int) -> None:
        super().__init__()
        self.linear = nn.Linear(DESCRIPTION_LENGTH + kinds, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, diagnosis: Tensor) -> tuple[Tensor, Tensor]:
        attention, gain = self.linear(diagnosis)[:, :, None, None].chunk(2, dim=1)
        return attention, gain


class _Block(nn.Module):
    """NAFBlock: a depthwise convolution with channel attention, then a feed-forward part.

    Both widen the channels twofold and halve them again by the gate; both are scaled by a learned
    factor per channel that starts as zero. With `kinds`, a picture's diagnosis (N, L) has a say in
    the attention, and scales the channels of the second part too.
    """

    def __init__(self, channels: int, *, kinds: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv4 = nn.Conv2d(channels, wide, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1 = _LayerNorm2d(channels)
        self.norm2 = _LayerNorm2d(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.modulation = _Modulation(channels, kinds=kinds) if kinds else None

    def forward(self, x: Tensor, diagnosis: Tensor | None) -> Tensor:
        spatial = _gate(self.conv2(self.conv1(self.norm1(x))))
        attention = self.sca(spatial)
        gain = None
        if self.modulation is not None and diagnosis is not None:
            told, gain = (scale.to(x.dtype) for scale in self.modulation(diagnosis))
            attention = attention + told
        x = x + _scaled(self.conv3, self.beta, spatial * attention)
        forward = _gate(self.conv4(self.norm2(x)))
        if gain is not None:
            forward = forward * (1 + gain)
        return x + _scaled(self.conv5, self.gamma, forward)


def _scaled(conv: nn.Conv2d, factors: Tensor, x: Tensor) -> Tensor:
    """`conv(x) * factors`, the factors (1, channels, 1, 1) multiplied into the small kernel."""
    assert conv.bias is not None, "the scaled layers of a block have one"
    return F.conv2d(x, conv.weight * factors.view(-1, 1, 1, 1), conv.bias * factors.view(-1))


class _Stage(nn.ModuleList):
    """Blocks of one resolution, one after the other."""

    def __init__(self, channels: int, count: int, *, kinds: int) -> None:
        super().__init__(_Block(channels, kinds=kinds) for _ in range(count))

    def forward(self, x: Tensor, diagnosis: Tensor | None) -> Tensor:
        for block in self:
            x = block(x, diagnosis)
        return x


class NAFNet(nn.Module):
    """Pixels (N, 3, H, W), float, RGB in [0, 1] -> restored pixels of the same shape, not clamped.

    H and W must be multiples of `config.size_multiple`.
    """

    def __init__(self, config: NAFNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.width
        planes = 3 * config.unshuffle**2
        self.intro = nn.Conv2d(planes, channels, 3, padding=1)
        self.ending = nn.Conv2d(channels, planes, 3, padding=1)
        for parameter in self.ending.parameters():
            nn.init.zeros_(parameter)
        kinds = config.kinds
        self.diagnosis = _Diagnosis(kinds) if kinds else None
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        for count in config.encoder_blocks:
            self.encoders.append(_Stage(channels, count, kinds=kinds))
            self.downs.append(nn.Conv2d(channels, 2 * channels, 2, stride=2))
            channels *= 2
        self.middle_blks = _Stage(channels, config.middle_blocks, kinds=kinds)
        self.ups, self.decoders = nn.ModuleList(), nn.ModuleList()
        for count in config.decoder_blocks:
            widen = nn.Conv2d(channels, 2 * channels, 1, bias=False)
            self.ups.append(nn.Sequential(widen, nn.PixelShuffle(2)))
            channels //= 2
            self.decoders.append(_Stage(channels, count, kinds=kinds))

    def forward(self, pixels: Tensor) -> Tensor:
        """The restored pixels.

        Raises:
            ValueError: H or W is not a multiple of `config.size_multiple`.
        """
        return self.forward_with_features(pixels, ())[0]

    def answer(self, pixels: Tensor) -> Answer:
        """The restored pixels and the logarithms of the kinds' shares, for training.

        No features; without `kinds`, no shares either.
        """
        restored, _, shares = self._restore(pixels, frozenset())
        return Answer(restored, pixels.new_empty(0), shares)

    def forward_with_features(
        self, pixels: Tensor, layers: Iterable[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The restored pixels, and what the named layers made of them, for distillation.

        Args:
            layers: of `config.feature_channels`: `encoders.N` (before it is scaled down),
                `middle_blks`, `decoders.N`.

        Returns:
            The pixels, and by name (N, channels, H / s, W / s), s = unshuffle * 2^N for
            `encoders.N`.

        Raises:
            ValueError: H or W is not a multiple of `config.size_multiple`, or a layer is unknown.
        """
        wanted = frozenset(layers)
        self._require_layers(wanted)
        restored, features, _ = self._restore(pixels, wanted)
        return restored, features

    def take_estimator(self, student: StudentNetEnhanced) -> None:
        """Copies a student's estimator, and its router, of experts of one kind their mean.

        Raises:
            ValueError: this network has no estimator, or the student tells other kinds apart.
        """
        if self.diagnosis is None or student.config.experts % self.config.kinds:
            raise ValueError(
                f"a teacher of {self.config.kinds} kinds cannot take the estimator of a student of "
                f"{student.config.experts} experts. Choose a shape and a student that agree."
            )
        self.diagnosis.estimator.load_state_dict(student.estimator.state_dict())
        self.diagnosis.router.hidden.load_state_dict(student.router.hidden.state_dict())
        output = {
            name: resized_experts(old, self.config.kinds, spread=0)
            for name, old in student.router.output.state_dict().items()
        }
        self.diagnosis.router.output.load_state_dict(output)

    def _restore(
        self, pixels: Tensor, wanted: frozenset[str]
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The restored pixels, the wanted layers' features, the kinds' shares as logarithms."""
        self._require_size(pixels)
        features: dict[str, Tensor] = {}
        diagnosis, shares = (
            self.diagnosis(pixels) if self.diagnosis else (None, pixels.new_empty(0))
        )

        def keep(name: str, x: Tensor) -> Tensor:
            if name in wanted:
                features[name] = x
            return x

        # The norms work channels last; mixed formats would cost a copy in every block.
        squares = F.pixel_unshuffle(pixels, self.config.unshuffle)
        x = self.intro(squares.contiguous(memory_format=torch.channels_last))
        skips: list[Tensor] = []
        for level, (encoder, down) in enumerate(zip(self.encoders, self.downs, strict=True)):
            skips.append(keep(f"encoders.{level}", encoder(x, diagnosis)))
            x = down(skips[-1])
        x = keep("middle_blks", self.middle_blks(x, diagnosis))
        for step, (up, decoder) in enumerate(zip(self.ups, self.decoders, strict=True)):
            x = keep(f"decoders.{step}", decoder(up(x) + skips.pop(), diagnosis))
        restored = pixels + F.pixel_shuffle(self.ending(x), self.config.unshuffle)
        return restored, features, shares

    def _require_size(self, pixels: Tensor) -> None:
        height, width = pixels.shape[-2:]
        multiple = self.config.size_multiple
        if height % multiple or width % multiple:
            raise ValueError(
                f"this NAFNet takes heights and widths that are multiples of {multiple} px, "
                f"not {height}x{width}"
            )

    def _require_layers(self, wanted: frozenset[str]) -> None:
        choices = self.config.feature_channels
        unknown = sorted(wanted - choices.keys())
        if unknown:
            raise ValueError(
                f"the teacher has no layer {', '.join(unknown)}. It has {', '.join(choices)}."
            )


class _LocalMean(nn.Module):
    """The mean of a window around each position, (N, C, H, W) -> the same shape.

    Or (N, C, 1, 1), the mean of all positions, if the window covers them. The window is moved
    inwards at the borders, which is the replication of the outermost full one.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if max(height, width) <= self.window:
            return F.adaptive_avg_pool2d(x, 1)
        # Running sums of many positions need fp32 whatever the features' type.
        means = x.float()
        for dim, length in ((2, height), (3, width)):
            means = _windowed_mean(means, min(self.window, length), dim)
        return means.to(x.dtype)


def _windowed_mean(x: Tensor, window: int, dim: int) -> Tensor:
    """The means of `window` neighbours along `dim`, the first and last repeated to its length."""
    length = x.shape[dim]
    count = length - window + 1
    sums = x.cumsum(dim)
    before = torch.cat(
        (torch.zeros_like(sums.narrow(dim, 0, 1)), sums.narrow(dim, 0, count - 1)), dim
    )
    means = (sums.narrow(dim, window - 1, count) - before) / window
    nearest = torch.arange(length, device=x.device) - (length - count) // 2
    return means.index_select(dim, nearest.clamp(0, count - 1))


def with_local_statistics(network: NAFNet, *, window_px: int) -> NAFNet:
    """A copy whose channel attention averages over a window instead of the whole picture.

    TLC (arXiv 2112.04491): a network trained on crops meets other statistics in a whole picture; a
    window of 1.5 times the crop (384 px for the published models) brings those of training back.
    Pictures no larger than the window give exactly what `network` gives. Names of tensors stay.

    Args:
        window_px: side of the window in the picture, whatever the resolution of a level.

    Raises:
        ValueError: the window is smaller than `size_multiple`, less than a position of the lowest
            level.
    """
    if window_px < network.config.size_multiple:
        raise ValueError(
            f"window_px must be at least {network.config.size_multiple}, not {window_px}"
        )
    local = copy.deepcopy(network)
    levels = len(local.encoders)
    depths = [(stage, level) for level, stage in enumerate(local.encoders)]
    depths += [(local.middle_blks, levels)]
    depths += [(stage, levels - 1 - step) for step, stage in enumerate(local.decoders)]
    for stage, depth in depths:
        for module in stage.modules():
            if isinstance(module, _Block):
                module.sca[0] = _LocalMean(window_px // (local.config.unshuffle << depth))
    return local

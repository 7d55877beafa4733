"""LPIPS, the learned perceptual distance, for reports; it is no loss.

R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018
(arXiv 1801.03924), version 0.1 of the authors' weights, on AlexNet or VGG-16. Distances agree with
their package `lpips`.

One safetensors file holds both parts, so that nothing is unpickled and nothing downloaded: the
backbone as torchvision names it (`features.0.weight`, `features.0.bias`, ...) and the heads as the
package names them (`lin0.model.1.weight`, ...). `convert_lpips_weights` writes it from the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from service.model.atomic import write_bytes
from trainer.methods import ImageArray

__all__ = ["LpipsBackbone", "PerceptualMetric", "PerceptualWeightsError", "convert_lpips_weights"]

LpipsBackbone = Literal["alex", "vgg"]

_HEADS = tuple(f"lin{index}.model.1.weight" for index in range(5))
# What the authors' scaling layer does to pixels in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10
_SMALLEST_PX = 64


class PerceptualWeightsError(ValueError):
    """The file does not hold LPIPS weights; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where torchvision's convolutions stand in `features`, and the layers that are compared."""

    convolutions: Mapping[int, nn.Conv2d]
    pools: Mapping[int, nn.MaxPool2d]
    taps: tuple[int, ...]


class PerceptualMetric:
    """LPIPS on one device.

    Attributes:
        name: which network it is, such as `LPIPS (AlexNet, v0.1)`.
    """

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device) -> None:
        backbone: LpipsBackbone = "vgg" if "features.28.weight" in weights else "alex"
        layout = _layout(backbone)
        _require_weights(weights, layout)
        self.name = f"LPIPS ({'VGG-16' if backbone == 'vgg' else 'AlexNet'}, v0.1)"
        self._device = device
        self._stages = nn.ModuleList(_stages(layout, weights)).to(device).eval()
        self._heads = [weights[name].float().to(device) for name in _HEADS]

    @classmethod
    def load(cls, path: Path, *, device: str | torch.device = "cpu") -> PerceptualMetric:
        """Reads backbone and heads from a safetensors file.

        Raises:
            PerceptualWeightsError: the file is not safetensors, or a tensor is missing or of
                another shape.
            FileNotFoundError: there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file. Name a safetensors file for LPIPS.")
        try:
            weights = load_file(path)
        except SafetensorError as exc:
            raise PerceptualWeightsError(
                f"{path} is truncated, or not a safetensors file ({exc})."
            ) from exc
        try:
            return cls(weights, torch.device(device))
        except PerceptualWeightsError as exc:
            raise PerceptualWeightsError(f"{path}: {exc}") from None

    @torch.inference_mode()
    def distance(self, image: ImageArray, clean: ImageArray) -> float:
        """LPIPS of two images (H, W, 3) uint8 RGB; 0 if they are equal, larger is worse.

        Images smaller than 64 px are enlarged by repeating their borders, as the backbone needs.
        """
        first, second = (self._features(array) for array in (image, clean))
        total = torch.zeros((), device=self._device)
        for one, other, head in zip(first, second, self._heads, strict=True):
            difference = (_normalised(one) - _normalised(other)).square()
            total += (difference * head).sum(dim=1).mean()
        return float(total)

    def _features(self, image: ImageArray) -> list[Tensor]:
        missing = [max(0, _SMALLEST_PX - side) for side in image.shape[:2]]
        if any(missing):
            image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
        pixels = pixels.to(self._device) / 127.5 - 1
        shift, scale = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
        values = (pixels - shift) / scale
        features = []
        for stage in self._stages:
            values = stage(values)
            features.append(values)
        return features


def convert_lpips_weights(
    path: Path, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]
) -> None:
    """Writes the one file that `PerceptualMetric.load` reads, in one step.

    Args:
        backbone: `torchvision.models.alexnet(...).state_dict()`, or `vgg16`, trained on ImageNet.
        heads: `weights/v0.1/alex.pth`, or `vgg.pth`, of the package `lpips`, loaded with
            `weights_only=True, map_location="cpu"`.

    Raises:
        PerceptualWeightsError: a tensor is missing, or the two belong to different networks.
        OSError: the file cannot be written.
    """
    parts = {**backbone, **heads}
    layout = _layout("vgg" if "features.28.weight" in parts else "alex")
    wanted = _shapes(layout)
    weights = {name: parts[name].float().contiguous() for name in wanted if name in parts}
    _require_weights(weights, layout)
    write_bytes(path, save(weights))


def _normalised(features: Tensor) -> Tensor:
    """Unit length along the channels."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON)


def _layout(backbone: LpipsBackbone) -> _Layout:
    with torch.device("meta"):
        if backbone == "alex":
            return _Layout(
                {
                    0: nn.Conv2d(3, 64, 11, stride=4, padding=2),
                    3: nn.Conv2d(64, 192, 5, padding=2),
                    6: nn.Conv2d(192, 384, 3, padding=1),
                    8: nn.Conv2d(384, 256, 3, padding=1),
                    10: nn.Conv2d(256, 256, 3, padding=1),
                },
                {2: nn.MaxPool2d(3, 2), 5: nn.MaxPool2d(3, 2)},
                (0, 3, 6, 8, 10),
            )
        positions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
        widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
        convolutions = {
            position: nn.Conv2d(inside, outside, 3, padding=1)
            for position, (inside, outside) in zip(positions, pairwise(widths), strict=True)
        }
        return _Layout(
            convolutions, {at: nn.MaxPool2d(2, 2) for at in (4, 9, 16, 23)}, (2, 7, 14, 21, 28)
        )


def _shapes(layout: _Layout) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for position, convolution in layout.convolutions.items():
        shapes[f"features.{position}.weight"] = tuple(convolution.weight.shape)
        shapes[f"features.{position}.bias"] = (convolution.out_channels,)
    for name, tap in zip(_HEADS, layout.taps, strict=True):
        shapes[name] = (1, layout.convolutions[tap].out_channels, 1, 1)
    return shapes


def _require_weights(weights: Mapping[str, Tensor], layout: _Layout) -> None:
    for name, shape in _shapes(layout).items():
        if name not in weights:
            raise PerceptualWeightsError(
                f"{name} is missing. LPIPS needs the whole backbone and its five heads; write the "
                "file with trainer.perceptual_metric.convert_lpips_weights."
            )
        if tuple(weights[name].shape) != shape:
            raise PerceptualWeightsError(
                f"{name} is {tuple(weights[name].shape)}, expected {shape}: backbone and heads "
                "belong to different networks."
            )


def _stages(layout: _Layout, weights: Mapping[str, Tensor]) -> list[nn.Sequential]:
    """The backbone cut after the activation of each compared layer."""
    stages: list[nn.Sequential] = []
    layers: list[nn.Module] = []
    for position in range(max(layout.taps) + 1):
        if position in layout.pools:
            layers.append(layout.pools[position])
        elif position in layout.convolutions:
            convolution = layout.convolutions[position]
            state = {
                part: weights[f"features.{position}.{part}"].float() for part in ("weight", "bias")
            }
            convolution.load_state_dict(state, strict=True, assign=True)
            layers += [convolution.requires_grad_(requires_grad=False), nn.ReLU()]
        if position in layout.taps:
            stages.append(nn.Sequential(*layers))
            layers = []
    return stages

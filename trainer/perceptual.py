"""The perceptual loss: what VGG sees of the difference between two stacks of pixels.

Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", arXiv
1603.08155, on torchvision's VGG-16 or VGG-19 (arXiv 1409.1556, ImageNet), features after the ReLU.
Ours differs in two ways. The difference is absolute, not squared, so that single large ones do not
outweigh all others. It is divided by the mean feature of the clean crop, per layer and crop: layers
count alike then, and the term's weight means the same for every file of weights. Otherwise it would
not: the original Oxford weights, converted, have features around a hundred.

The network is a few convolutions and is built here, so that a file of weights is all that is
needed; torchvision is imported only to download its own.
"""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DEFAULT_LAYERS", "NETWORKS", "PerceptualLoss"]

# Convolutions of each block; a 2x2 maximum stands between blocks.
NETWORKS: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
DEFAULT_LAYERS = ("relu2_2", "relu3_3")
_BLOCK_CHANNELS = (64, 128, 256, 512, 512)
# ImageNet's statistics, RGB, as torchvision's models expect them.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_SMALLEST_MEAN = 1e-6
_PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
_KEY = re.compile(r"features\.\d+\.(weight|bias)")


class PerceptualLoss(nn.Module):
    """Mean absolute difference of VGG features, relative to their mean, averaged over the layers.

    The weights are frozen, and in no state dict: whatever holds this module is saved without them.
    They and the features are in `precision` also where autocast is on; the differences are in fp32.

    Args:
        network: "vgg16" or "vgg19".
        layers: such as "relu2_2", the second ReLU of the second block; the deepest one decides how
            much of the network is run and how much of it a file must hold.
        weights_file: `.safetensors` or torchvision's `.pth` with the keys `features.N.weight` and
            `features.N.bias`, in fp32 or fp16, at least as deep as the layers; None = torchvision's
            download (ImageNet, 528 MB for VGG-16).
        precision: fp32, bf16 or fp16.

    Raises:
        ValueError: an unknown network or layer, or the file is not one of this network's or not
            deep enough.
        FileNotFoundError: no such file.
        OSError: the weights cannot be downloaded.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        network: str = "vgg16",
        layers: Sequence[str] = DEFAULT_LAYERS,
        weights_file: Path | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        places = _layer_places(network)
        _require_layers(network, layers, places)
        if precision not in _PRECISIONS:
            raise ValueError(f"the perceptual loss runs in fp32, bf16 or fp16, not {precision}")
        self.layers = tuple(dict.fromkeys(layers))
        self.precision = precision
        deepest = max(self.layers, key=lambda name: places[name])
        self._plan = dict(list(places.items())[: list(places).index(deepest) + 1])
        weights = _download(network) if weights_file is None else _read(weights_file)
        _require_depth(weights, self._plan, deepest, network, weights_file)
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            buffer = torch.tensor(values).view(3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        for place in self._plan.values():
            for part in ("weight", "bias"):
                tensor = weights[f"features.{place}.{part}"].detach().to(precision, copy=True)
                self.register_buffer(f"{part}_{place}", tensor, persistent=False)

    def forward(self, sharpened: Tensor, clean: Tensor) -> Tensor:
        """The loss of each crop; its gradient flows to `sharpened` alone.

        Args:
            sharpened: (N, 3, H, W) float RGB in [0, 1].
            clean: the same.

        Returns:
            (N,) fp32, 0 for equal pictures; 0.1 means that the features differ by a tenth of
            their mean.

        Raises:
            ValueError: a picture is too small for the deepest layer.
        """
        with torch.autocast(sharpened.device.type, enabled=False):
            seen = self._features(sharpened)
            with torch.no_grad():
                wanted = self._features(clean)
            losses = [_relative_l1(*pair) for pair in zip(seen, wanted, strict=True)]
        return torch.stack(losses).mean(dim=0)

    def _features(self, pixels: Tensor) -> list[Tensor]:
        """Of each wanted layer, (N, C, H / s, W / s), from shallow to deep."""
        blocks = 1 + max(_block_of(name) for name in self._plan)
        smallest_px = 2 ** (blocks - 1)
        if min(pixels.shape[-2:]) < smallest_px:
            raise ValueError(
                f"{list(self._plan)[-1]} needs pictures of at least {smallest_px} px, "
                f"not {pixels.shape[-2]}x{pixels.shape[-1]}"
            )
        x = ((pixels.float() - self.mean) / self.deviation).to(self.precision)
        features, block = [], 0
        for name, place in self._plan.items():
            if _block_of(name) > block:
                x, block = F.max_pool2d(x, 2), block + 1
            weight, bias = getattr(self, f"weight_{place}"), getattr(self, f"bias_{place}")
            x = F.relu(F.conv2d(x, weight, bias, padding=1), inplace=True)
            if name in self.layers:
                features.append(x)
        return features


def _relative_l1(seen: Tensor, wanted: Tensor) -> Tensor:
    seen, wanted = seen.float(), wanted.float()
    size = wanted.mean(dim=(1, 2, 3)).clamp_min(_SMALLEST_MEAN)
    return (seen - wanted).abs().mean(dim=(1, 2, 3)) / size


def _block_of(layer: str) -> int:
    return int(layer[4]) - 1


def _layer_places(network: str) -> dict[str, int]:
    """Every layer's name and its convolution's number in torchvision's `features`, in order."""
    if network not in NETWORKS:
        raise ValueError(f"the perceptual network must be {' or '.join(NETWORKS)}, not {network!r}")
    places, place = {}, 0
    for block, count in enumerate(NETWORKS[network], start=1):
        for number in range(1, count + 1):
            places[f"relu{block}_{number}"] = place
            place += 2
        place += 1
    return places


def _require_layers(network: str, layers: Sequence[str], places: Mapping[str, int]) -> None:
    unknown = [name for name in layers if name not in places]
    if unknown or not layers:
        what = f"{network} has no layer {', '.join(unknown)}" if unknown else "name a layer"
        raise ValueError(f"{what}. It has {', '.join(places)}.")


def _require_depth(
    weights: Mapping[str, Tensor],
    plan: Mapping[str, int],
    deepest: str,
    network: str,
    path: Path | None,
) -> None:
    """Raises ValueError unless `weights` has every convolution of `plan`, of the right shape."""
    held, entering = "nothing", 3
    for name, place in plan.items():
        channels = _BLOCK_CHANNELS[_block_of(name)]
        wanted = {"weight": (channels, entering, 3, 3), "bias": (channels,)}
        found = {part: weights.get(f"features.{place}.{part}") for part in wanted}
        if any(tensor is None for tensor in found.values()):
            raise ValueError(
                f"{path or 'the download'} holds {network} up to {held}, but {deepest} was asked "
                "for. Ask for shallower layers, or pass a file that goes as deep."
            )
        for part, shape in wanted.items():
            tensor = found[part]
            if tensor is None or tuple(tensor.shape) != shape:
                actual = None if tensor is None else tuple(tensor.shape)
                raise ValueError(
                    f"{path or 'the download'} is not {network}: features.{place}.{part} is "
                    f"{actual}, expected {shape}"
                )
        held, entering = name, channels


def _read(path: Path) -> dict[str, Tensor]:
    """The `features` of a weights file; what else it holds (the classifier) is not read."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of VGG weights. Correct --vgg-weights.")
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if _KEY.fullmatch(name)]  # noqa: SIM118
                weights = {name: file.get_tensor(name) for name in names}
        else:
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
            entries = content.items() if isinstance(content, dict) else ()
            weights = {
                name: tensor
                for name, tensor in entries
                if isinstance(tensor, Tensor) and _KEY.fullmatch(str(name))
            }
    # On a damaged file torch's reader fails with whatever error lies nearest to the damage.
    except Exception as exc:
        raise ValueError(
            f"{path}: damaged, or not a file of weights. Pass a .safetensors or torchvision's .pth."
        ) from exc
    if not weights:
        raise ValueError(
            f"{path}: not VGG weights, it has no features.N.weight. Pass another --vgg-weights."
        )
    return weights


def _download(network: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, kept in torch's cache folder."""
    try:
        models = importlib.import_module("torchvision.models")
    # A torchvision built for another torch fails in many ways while it is imported.
    except (ImportError, RuntimeError, OSError) as exc:
        raise OSError(
            f"torchvision, which downloads the VGG weights, cannot be imported ({exc}). "
            "Install the one that belongs to this torch, or pass --vgg-weights FILE."
        ) from exc
    entry = models.get_weight(f"{network.upper()}_Weights.IMAGENET1K_V1")
    try:
        weights: dict[str, Tensor] = entry.get_state_dict(
            progress=True, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as exc:
        raise OSError(
            f"the {network} weights cannot be downloaded ({exc}). Pass --vgg-weights FILE."
        ) from exc
    return weights

"""LPIPS by its definition, on random weights; the authors' own are not at hand here.

Distances were compared with the package `lpips` 0.1.4 on its own heads and a random backbone: they
agree within 1e-9 for AlexNet and VGG-16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from tests.service.pictures import sample
from trainer.methods import ImageArray
from trainer.perceptual_metric import (
    PerceptualMetric,
    PerceptualWeightsError,
    convert_lpips_weights,
)

ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


def alex_weights() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    backbone: dict[str, Tensor] = {"classifier.1.weight": torch.zeros(1)}
    heads = {}
    for number, (position, (outside, inside, kernel)) in enumerate(ALEX.items()):
        fan_in = inside * kernel**2
        weight = torch.randn(outside, inside, kernel, kernel, generator=generator)
        backbone[f"features.{position}.weight"] = weight * (2 / fan_in) ** 0.5
        backbone[f"features.{position}.bias"] = torch.randn(outside, generator=generator) / 10
        heads[f"lin{number}.model.1.weight"] = torch.rand(1, outside, 1, 1, generator=generator)
    return backbone, heads


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    convert_lpips_weights(path, *alex_weights())
    return path


def pictures() -> tuple[ImageArray, ImageArray]:
    clean = np.ascontiguousarray(sample("museum")[:96, :80])
    blurred = clean.copy()
    blurred[1:] = (clean[1:].astype(int) + clean[:-1]) // 2
    return blurred, clean


def activations(image: ImageArray, backbone: dict[str, Tensor]) -> list[Tensor]:
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).double() / 255 * 2 - 1
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = (x - shift.double()[:, None, None]) / scale.double()[:, None, None]
    found = []
    for position, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        if position in (3, 6):
            x = F.max_pool2d(x, 3, 2)
        weight, bias = (backbone[f"features.{position}.{part}"] for part in ("weight", "bias"))
        x = F.relu(F.conv2d(x, weight.double(), bias.double(), stride=stride, padding=padding))
        found.append(x)
    return found


def test_the_distance_is_the_one_of_the_paper(weights_file: Path) -> None:
    backbone, heads = alex_weights()
    blurred, clean = pictures()
    expected = 0.0
    layers = zip(activations(blurred, backbone), activations(clean, backbone), strict=True)
    for number, (one, other) in enumerate(layers):
        unit, other_unit = (x / x.norm(dim=1, keepdim=True) for x in (one, other))
        weight = heads[f"lin{number}.model.1.weight"].double()
        expected += float(((unit - other_unit) ** 2 * weight).sum(dim=1).mean())
    measured = PerceptualMetric.load(weights_file)
    assert measured.name == "LPIPS (AlexNet, v0.1)"
    assert measured.distance(blurred, clean) == pytest.approx(expected, rel=1e-4)
    assert expected > 0.001


def test_equal_pictures_have_no_distance_and_order_does_not_matter(weights_file: Path) -> None:
    metric = PerceptualMetric.load(weights_file)
    blurred, clean = pictures()
    assert metric.distance(clean, clean) == 0
    assert metric.distance(blurred, clean) == pytest.approx(metric.distance(clean, blurred))


def test_tiny_pictures_can_be_measured(weights_file: Path) -> None:
    metric = PerceptualMetric.load(weights_file)
    white, black = np.full((1, 3, 3), 255, np.uint8), np.zeros((1, 3, 3), np.uint8)
    assert metric.distance(white, black) > 0


def test_vgg_is_told_from_its_layers_and_needs_all_of_them() -> None:
    with pytest.raises(PerceptualWeightsError, match=r"features\.0\.weight is missing"):
        PerceptualMetric({"features.28.weight": torch.zeros(512, 512, 3, 3)}, torch.device("cpu"))


def test_a_backbone_without_its_last_layers_is_no_lpips(tmp_path: Path) -> None:
    backbone, heads = alex_weights()
    del backbone["features.10.weight"]
    with pytest.raises(PerceptualWeightsError, match=r"features\.10\.weight is missing"):
        convert_lpips_weights(tmp_path / "x.safetensors", backbone, heads)
    assert list(tmp_path.iterdir()) == []


def test_heads_of_another_network_are_refused(tmp_path: Path) -> None:
    backbone, heads = alex_weights()
    heads["lin1.model.1.weight"] = torch.zeros(1, 128, 1, 1)
    with pytest.raises(PerceptualWeightsError, match="belong to different networks"):
        convert_lpips_weights(tmp_path / "x.safetensors", backbone, heads)


def test_files_that_are_no_such_weights_say_so(tmp_path: Path, weights_file: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        PerceptualMetric.load(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights_file.read_bytes()[:1000])
    with pytest.raises(PerceptualWeightsError, match="truncated"):
        PerceptualMetric.load(cut)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, other)
    with pytest.raises(PerceptualWeightsError, match=r"other\.safetensors: .* is missing"):
        PerceptualMetric.load(other)

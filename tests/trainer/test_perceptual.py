"""The perceptual loss: VGG's arithmetic, weights from a file or a download, gradients, types."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.perceptual import NETWORKS, PerceptualLoss

CHANNELS = (64, 128, 256, 512, 512)
MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
DEVIATION = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


def vgg(network: str = "vgg16", blocks: int = 2) -> nn.Sequential:
    """torchvision's `features` up to the last ReLU of a block, with random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    entering = 3
    for count, channels in zip(NETWORKS[network][:blocks], CHANNELS, strict=False):
        for _ in range(count):
            layers += [nn.Conv2d(entering, channels, 3, padding=1), nn.ReLU()]
            entering = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1]).requires_grad_(requires_grad=False)


def weights(features: nn.Sequential) -> dict[str, Tensor]:
    return {f"features.{name}": tensor for name, tensor in features.state_dict().items()}


def pair(height: int = 18, width: int = 22) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 2, 3, height, width, generator=generator)
    return first, second


def expected_loss(features: nn.Sequential, at: int, sharpened: Tensor, clean: Tensor) -> Tensor:
    """The documented formula for the layer that ends with module `at`."""
    seen, wanted = (features[: at + 1]((x - MEAN) / DEVIATION) for x in (sharpened, clean))
    relative: Tensor = (seen - wanted).abs().mean(dim=(1, 2, 3)) / wanted.mean(dim=(1, 2, 3))
    return relative


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file(weights(vgg()), path)
    return path


def test_one_feature_by_hand(tmp_path: Path) -> None:
    kernel, bias = torch.zeros(64, 3, 3, 3), torch.zeros(64)
    kernel[5, 0, 1, 1], bias[5] = 1, 4
    path = tmp_path / "a.safetensors"
    save_file({"features.0.weight": kernel, "features.0.bias": bias}, path)
    clean = torch.full((1, 3, 4, 4), 0.485)
    sharpened = clean.clone()
    sharpened[:, 0] += 0.0229
    sharpened[:, 1] += 0.3
    # Red is normalised to 0, one feature is 4 of the clean and 4.1 of the sharpened crop.
    loss = PerceptualLoss(layers=("relu1_1",), weights_file=path)(sharpened, clean)
    assert loss.tolist() == pytest.approx([0.1 / 4], rel=1e-4)


@pytest.mark.parametrize(
    ("network", "blocks", "places"),
    [
        ("vgg16", 2, {"relu1_1": 1, "relu1_2": 3, "relu2_1": 6, "relu2_2": 8}),
        ("vgg19", 4, {"relu2_2": 8, "relu3_4": 17, "relu4_4": 26}),
        ("vgg16", 4, {"relu3_3": 15, "relu4_3": 22}),
    ],
)
def test_layers_are_those_of_torchvision(
    network: str, blocks: int, places: dict[str, int], tmp_path: Path
) -> None:
    features, path = vgg(network, blocks), tmp_path / "a.safetensors"
    save_file(weights(features), path)
    expected = torch.stack([expected_loss(features, at, *pair()) for at in places.values()])
    for index, name in enumerate(places):
        alone = PerceptualLoss(network=network, layers=(name,), weights_file=path)
        torch.testing.assert_close(alone(*pair()), expected[index], rtol=1e-4, atol=1e-6)
    together = PerceptualLoss(network=network, layers=tuple(places), weights_file=path)
    torch.testing.assert_close(together(*pair()), expected.mean(dim=0), rtol=1e-4, atol=1e-6)


def test_equal_pictures_cost_nothing_and_each_crop_is_its_own(file: Path) -> None:
    loss = PerceptualLoss(layers=("relu1_2", "relu2_2"), weights_file=file)
    sharpened, clean = pair()
    assert loss(clean, clean).tolist() == [0, 0]
    both = loss(sharpened, clean)
    assert both.shape == (2,)
    for crop in range(2):
        alone = loss(sharpened[crop : crop + 1], clean[crop : crop + 1])
        torch.testing.assert_close(alone, both[crop : crop + 1])


def test_the_loss_is_the_same_for_weights_of_any_size(tmp_path: Path) -> None:
    features, path = vgg(), tmp_path / "a.safetensors"
    scaled = weights(features)
    for name in ("features.0.weight", "features.0.bias"):
        scaled[name] = 100 * scaled[name]
    for place in (2, 5, 7):
        scaled[f"features.{place}.bias"] = 100 * scaled[f"features.{place}.bias"]
    save_file(scaled, path)
    torch.testing.assert_close(
        PerceptualLoss(layers=("relu2_2",), weights_file=path)(*pair()),
        expected_loss(features, 8, *pair()),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_gradient_goes_to_the_sharpened_pixels_alone(file: Path) -> None:
    loss = PerceptualLoss(layers=("relu1_2", "relu2_2"), weights_file=file)
    sharpened, clean = (x.requires_grad_() for x in pair())
    loss(sharpened, clean).sum().backward()
    assert clean.grad is None
    assert sharpened.grad is not None
    assert torch.isfinite(sharpened.grad).all()
    assert sharpened.grad.abs().sum() > 0


def test_a_step_down_the_gradient_lowers_the_loss(file: Path) -> None:
    loss = PerceptualLoss(layers=("relu2_2",), weights_file=file)
    sharpened, clean = pair()
    sharpened.requires_grad_()
    before = loss(sharpened, clean).sum()
    (gradient,) = torch.autograd.grad(before, sharpened)
    after = loss(sharpened - 0.01 * gradient / gradient.abs().max(), clean).sum()
    assert after < before


def test_nothing_of_it_is_trained_or_saved(file: Path) -> None:
    loss = PerceptualLoss(layers=("relu2_2",), weights_file=file)
    assert list(loss.parameters()) == []
    assert not any(buffer.requires_grad for buffer in loss.buffers())
    assert loss.state_dict() == {}


def test_autocast_does_not_lower_the_precision(file: Path) -> None:
    loss = PerceptualLoss(layers=("relu2_2",), weights_file=file)
    with torch.autocast("cpu", torch.bfloat16):
        measured = loss(*pair())
    assert measured.dtype == torch.float32
    assert torch.equal(measured, loss(*pair()))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_lower_precision_is_near_where_it_is_asked_for(file: Path, precision: torch.dtype) -> None:
    exact = PerceptualLoss(layers=("relu2_2",), weights_file=file)(*pair())
    low = PerceptualLoss(layers=("relu2_2",), weights_file=file, precision=precision)
    assert low.weight_0.dtype == precision
    sharpened, clean = pair()
    sharpened.requires_grad_()
    measured = low(sharpened, clean)
    torch.testing.assert_close(measured, exact, rtol=0.05, atol=0)
    assert not torch.equal(measured, exact)
    measured.sum().backward()
    assert sharpened.grad is not None
    assert sharpened.grad.dtype == torch.float32


def test_fp16_and_pth_files_are_read(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in weights(vgg()).items()}
    save_file(halves, tmp_path / "a.safetensors")
    # As torchvision's own: the classifier comes along.
    torch.save({**halves, "classifier.0.weight": torch.zeros(3)}, tmp_path / "a.pth")
    losses = [
        PerceptualLoss(layers=("relu2_1",), weights_file=tmp_path / name)
        for name in ("a.safetensors", "a.pth")
    ]
    held = dict(losses[0].named_buffers())["weight_0"]
    assert held.dtype == torch.float32
    assert torch.equal(held, halves["features.0.weight"].float())
    assert torch.equal(losses[0](*pair()), losses[1](*pair()))


def test_a_layer_deeper_than_the_file_names_both(file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"vgg16\.safetensors holds vgg16 up to relu2_2, but relu3_3"
    ):
        PerceptualLoss(layers=("relu1_2", "relu3_3"), weights_file=file)


def test_a_file_of_the_other_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg19.safetensors"
    save_file(weights(vgg("vgg19", 4)), path)
    with pytest.raises(ValueError, match=r"up to relu3_3, but relu4_1 was asked for"):
        PerceptualLoss(layers=("relu4_1",), weights_file=path)
    save_file(
        {"features.0.weight": torch.zeros(64, 3, 5, 5), "features.0.bias": torch.zeros(64)}, path
    )
    with pytest.raises(ValueError, match=r"not vgg16: features\.0\.weight is \(64, 3, 5, 5\)"):
        PerceptualLoss(layers=("relu1_1",), weights_file=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "vgg11"}, "must be vgg16 or vgg19, not 'vgg11'"),
        ({"layers": ("relu2_3",)}, "vgg16 has no layer relu2_3. It has relu1_1, relu1_2"),
        ({"layers": ()}, "name a layer"),
        ({"layers": ("relu1_1",), "precision": torch.int8}, "fp32, bf16 or fp16"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_choices(
    arguments: dict[str, Any], message: str, file: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        PerceptualLoss(**arguments, weights_file=file)


def write_text(path: Path) -> None:
    path.write_text("these are no weights")


def write_other_tensors(path: Path) -> None:
    save_file({"conv.weight": torch.zeros(1)}, path.with_suffix(".safetensors"))
    torch.save({"conv.weight": torch.zeros(1)}, path.with_suffix(".pth"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("write", "message"), [(write_text, "damaged"), (write_other_tensors, "not VGG weights")]
)
def test_a_wrong_file_says_so(
    write: Callable[[Path], None], message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    write(path)
    with pytest.raises(ValueError, match=message):
        PerceptualLoss(weights_file=path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file of VGG weights"):
        PerceptualLoss(weights_file=tmp_path / "none.pth")


def test_a_picture_too_small_for_the_layer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(weights(vgg(blocks=3)), path)
    loss = PerceptualLoss(layers=("relu3_1", "relu1_1"), weights_file=path)
    assert loss(*pair(4, 4)).shape == (2,)
    with pytest.raises(ValueError, match="relu3_1 needs pictures of at least 4 px, not 3x40"):
        loss(*pair(3, 40))


def torchvision_with(get_state_dict: Callable[..., Any]) -> Any:
    entry = SimpleNamespace(get_state_dict=get_state_dict)
    known = {"VGG16_Weights.IMAGENET1K_V1": entry}
    return SimpleNamespace(get_weight=known.__getitem__)


def test_without_a_file_torchvisions_weights_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}

    def get_state_dict(**given: Any) -> dict[str, Tensor]:
        options.update(given)
        return weights(vgg())

    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models", torchvision_with(get_state_dict))
    loss = PerceptualLoss(layers=("relu2_2",))
    torch.testing.assert_close(
        loss(*pair()), expected_loss(vgg(), 8, *pair()), rtol=1e-4, atol=1e-6
    )
    assert options["weights_only"] is True
    assert options["check_hash"] is True


def test_a_failed_download_says_to_pass_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_state_dict(**_: Any) -> None:
        raise URLError("no network")

    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models", torchvision_with(get_state_dict))
    with pytest.raises(
        OSError, match=r"cannot be downloaded .*no network.* Pass --vgg-weights FILE"
    ):
        PerceptualLoss()


def test_a_missing_torchvision_says_to_pass_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(OSError, match=r"cannot be imported .* or pass --vgg-weights FILE"):
        PerceptualLoss()

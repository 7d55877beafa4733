"""The last phase for the normalisation: folded, a student no longer depends on the frame's size.

All that it still takes from the whole picture is the description; the tests say what holds with
that of the whole and what with a tile's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.model.checkpoint import load_checkpoint
from service.model.sharpener import bundled_checkpoint
from service.model.student import StudentConfig, StudentNetEnhanced, build_student
from tests.service.pictures import sample

LARGEST_FOLDING_ERROR = 1e-4  # in pixels, whose range is [0, 1]
LARGEST_TILE_ERROR = 1e-5
# Levels of 255. Below half a level, only a value at a level's edge is rounded differently.
LARGEST_HALF_ERROR = {torch.float16: 0.5 / 255, torch.bfloat16: 2 / 255}
TILE = (slice(64, 192), slice(96, 256))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def bundled() -> StudentNetEnhanced:
    """The student that ships with Clearcall, not folded."""
    return load_checkpoint(bundled_checkpoint()).network


@pytest.fixture(scope="module")
def strong() -> StudentNetEnhanced:
    """A student whose statistics, attention and corrections are all far from their start."""
    torch.manual_seed(5)
    with torch.inference_mode(mode=False), torch.no_grad():
        network = build_student(StudentConfig(8, 2, blocks=3, experts=3)).train()
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for _ in range(60):
            network(photograph(64, 64))
        network.freeze_normalisation()
        return network.eval()


def photograph(height: int, width: int, *, name: str = "colosseum") -> Tensor:
    """Blurred, so that a trained student has something to correct; (1, 3, H, W) in [0, 1]."""
    image = cv2.GaussianBlur(sample(name)[:height, :width], (0, 0), sigmaX=1.0)
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@contextmanager
def textbook_normalisation(network: StudentNetEnhanced) -> Iterator[None]:
    """Convolution, then (y - mean) / sqrt(variance + epsilon) * scale + shift, one by one."""

    def forward(layer: Any, x: Tensor, mixture: Tensor) -> Tensor:
        (kernel,) = torch.einsum("ne,eoihw->noihw", mixture, layer.kernel)
        y = F.conv2d(x, kernel, padding=1)
        spread = torch.sqrt(layer.running_variance + 1e-5)
        scaled = (y - layer.running_mean[:, None, None]) / spread[:, None, None]
        shifted: Tensor = scaled * layer.scale[:, None, None] + layer.shift[:, None, None]
        return shifted

    layers: list[Any] = [layer for block in network.blocks for layer in (block.first, block.second)]
    for layer in layers:
        layer.forward = forward.__get__(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def inside(network: StudentNetEnhanced) -> Any:
    """Where a tile's correction sees nothing beyond the tile."""
    radius = network.config.receptive_radius_px
    return (..., slice(radius, -radius), slice(radius, -radius))


def corrections(network: StudentNetEnhanced) -> tuple[Tensor, Tensor]:
    """Of a tile: as in the whole frame, and of the tile by itself, by the frame's description."""
    frame = photograph(240, 320)
    description = network.describe(frame)
    whole = network.correction(network.seen(frame), description)[..., *TILE]
    return whole, network.correction(network.seen(frame[..., *TILE]), description)


@pytest.mark.parametrize("student", ["bundled", "strong"])
def test_folded_and_textbook_normalisation_agree(
    student: str, request: pytest.FixtureRequest
) -> None:
    network: StudentNetEnhanced = request.getfixturevalue(student)
    folded, whole = network.folded(), photograph(240, 320)
    assert not any("running" in name for name in folded.state_dict())
    with textbook_normalisation(network):
        expected = network(whole)
    assert (expected - whole).abs().max() > 0.02  # there is something to agree on
    assert (folded(whole) - expected).abs().max() < LARGEST_FOLDING_ERROR
    assert (network(whole) - expected).abs().max() < LARGEST_FOLDING_ERROR


@pytest.mark.parametrize("student", ["bundled", "strong"])
def test_folded_a_picture_in_a_batch_is_the_picture_by_itself(
    student: str, request: pytest.FixtureRequest
) -> None:
    folded = request.getfixturevalue(student).folded()
    names = ("colosseum", "museum", "woman-with-hat")
    single = [photograph(128, 160, name=name) for name in names]
    batch = folded(torch.cat(single))
    for index, pixels in enumerate(single):
        assert (batch[index] - folded(pixels)[0]).abs().max() < LARGEST_TILE_ERROR


@pytest.mark.parametrize("student", ["bundled", "strong"])
def test_folded_a_tile_is_corrected_as_in_the_whole_frame(
    student: str, request: pytest.FixtureRequest
) -> None:
    folded = request.getfixturevalue(student).folded()
    whole, tile = corrections(folded)
    difference = (tile - whole).abs()
    assert whole[inside(folded)].numel() > 0
    assert difference[inside(folded)].max() < LARGEST_TILE_ERROR
    assert difference.max() > 100 * LARGEST_TILE_ERROR  # at the rim the frame's content is missing


def test_folded_a_tile_s_own_description_shows(strong: StudentNetEnhanced) -> None:
    folded = strong.folded()
    frame = photograph(240, 320)
    difference = (folded(frame)[..., *TILE] - folded(frame[..., *TILE])).abs()
    assert difference[inside(folded)].max() > 10 * LARGEST_TILE_ERROR


def test_a_picture_s_own_statistics_differ_between_tile_and_whole_frame() -> None:
    torch.manual_seed(5)
    network = build_student(StudentConfig(8, 2, blocks=3)).eval()
    network.tail.kernel.normal_(std=0.05)
    whole, tile = corrections(network)
    assert (tile - whole)[inside(network)].abs().max() > 1000 * LARGEST_TILE_ERROR


@pytest.mark.parametrize("student", ["bundled", "strong"])
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_folded_half_precision_agrees_with_fp32(
    student: str, precision: torch.dtype, request: pytest.FixtureRequest
) -> None:
    network: StudentNetEnhanced = request.getfixturevalue(student)
    _require_half_precision_agrees(network, precision, "cpu")


@needs_gpu
@pytest.mark.parametrize("student", ["bundled", "strong"])
def test_folded_fp16_on_a_gpu_agrees_with_fp32_on_the_cpu(
    student: str, request: pytest.FixtureRequest
) -> None:
    network: StudentNetEnhanced = request.getfixturevalue(student)
    _require_half_precision_agrees(network, torch.float16, "cuda")


def _require_half_precision_agrees(
    network: StudentNetEnhanced, precision: torch.dtype, device: str
) -> None:
    """As the backends compute: the correction in half precision, the sum in fp32."""
    pixels = photograph(128, 160)
    expected = network.folded()(pixels)
    half: Any = network.folded().in_levels().to(device=device, dtype=precision)
    seen, description = network.seen(pixels) * 255, network.describe(pixels)
    correction = half.correction(seen.to(device, precision), description.to(device, precision))
    levels = correction.float().cpu()
    assert levels.abs().max() > 0.02 * 255
    assert (pixels + levels / 255 - expected).abs().max() < LARGEST_HALF_ERROR[precision]

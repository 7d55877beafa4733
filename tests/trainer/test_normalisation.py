"""The last phase for the normalisation: folded, a student no longer depends on the frame's size.

Where it still does is the channel attention, which averages over the whole picture; the tests say
what holds with it and what without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.model.checkpoint import load_checkpoint
from service.model.sharpener import bundled_checkpoint
from service.model.student import StudentConfig, StudentNetEnhanced, build_student
from tests.service.pictures import sample

LARGEST_FOLDING_ERROR = 1e-4  # in pixels, whose range is [0, 1]
LARGEST_TILE_ERROR = 1e-5
# Levels of 255. Below half a level, only a value at a level's edge is rounded differently.
LARGEST_HALF_ERROR = {torch.float16: 0.5 / 255, torch.bfloat16: 2 / 255}
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
        network = build_student(StudentConfig(8, 2, blocks=3)).train()
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

    def forward(layer: Any, x: Tensor) -> Tensor:
        y = F.conv2d(x, layer.kernel, padding=1)
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


@contextmanager
def fixed_gate(network: StudentNetEnhanced, gate: Tensor) -> Iterator[None]:
    """The channel attention scales by `gate` whatever the picture holds."""
    hook = network.channel_attention.register_forward_hook(lambda _, inputs, __: inputs[0] * gate)
    try:
        yield
    finally:
        hook.remove()


def gate_of(network: StudentNetEnhanced, pixels: Tensor) -> Tensor:
    attention = network.channel_attention
    pooled = network.features(pixels).mean(dim=(2, 3), keepdim=True)
    narrow = F.leaky_relu(attention.squeeze(pooled), attention.negative_slope)
    return torch.sigmoid(attention.excite(narrow))


@pytest.mark.parametrize("student", ["bundled", "strong"])
def test_folded_and_textbook_normalisation_agree(
    student: str, request: pytest.FixtureRequest
) -> None:
    network: StudentNetEnhanced = request.getfixturevalue(student)
    folded, whole = network.folded(), photograph(240, 320)
    assert all(isinstance(block.first, nn.Conv2d) for block in folded.blocks)
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
def test_folded_the_blocks_see_in_a_tile_what_they_see_in_the_whole_frame(
    student: str, request: pytest.FixtureRequest
) -> None:
    folded = request.getfixturevalue(student).folded()
    unshuffle, whole = folded.config.unshuffle, photograph(240, 320)
    tile = (slice(64, 192), slice(96, 256))
    coarse = tuple(slice(s.start // unshuffle, s.stop // unshuffle) for s in tile)
    difference = folded.features(whole)[..., *coarse] - folded.features(whole[..., *tile])
    radius = folded.config.receptive_radius_px // unshuffle
    inner = difference[..., radius:-radius, radius:-radius]
    assert inner.numel() > 0
    assert inner.abs().max() < LARGEST_TILE_ERROR * folded.features(whole).abs().max()
    assert difference.abs().max() > 0.1  # at the rim the frame's content is missing


@pytest.mark.parametrize("student", ["bundled", "strong"])
def test_folded_tile_and_whole_frame_agree_but_for_the_channel_attention(
    student: str, request: pytest.FixtureRequest
) -> None:
    folded = request.getfixturevalue(student).folded()
    whole, tile = photograph(240, 320), (slice(64, 192), slice(96, 256))
    radius = folded.config.receptive_radius_px
    inner = (..., slice(radius, -radius), slice(radius, -radius))
    expected = folded(whole)[..., *tile][inner]
    assert expected.numel() > 0
    with fixed_gate(folded, gate_of(folded, whole)):
        assert (folded(whole)[..., *tile][inner] - expected).abs().max() < LARGEST_TILE_ERROR
        assert (folded(whole[..., *tile])[inner] - expected).abs().max() < LARGEST_TILE_ERROR
    # The attention itself sees the tile only, and that shows.
    assert (folded(whole[..., *tile])[inner] - expected).abs().max() > 10 * LARGEST_TILE_ERROR


def test_with_an_attention_that_ignores_the_picture_tile_and_whole_frame_agree(
    strong: StudentNetEnhanced,
) -> None:
    folded = strong.folded()
    folded.channel_attention.excite.weight = nn.Parameter(
        torch.zeros_like(folded.channel_attention.excite.weight), requires_grad=False
    )
    whole, tile = photograph(240, 320), (slice(64, 192), slice(96, 256))
    radius = folded.config.receptive_radius_px
    inner = (..., slice(radius, -radius), slice(radius, -radius))
    difference = (folded(whole)[..., *tile] - folded(whole[..., *tile]))[inner]
    assert difference.abs().max() < LARGEST_TILE_ERROR


def test_a_picture_s_own_statistics_differ_between_tile_and_whole_frame() -> None:
    torch.manual_seed(5)
    network = build_student(StudentConfig(8, 2, blocks=3)).eval()
    whole, tile = photograph(240, 320), (slice(64, 192), slice(96, 256))
    coarse = (slice(32, 96), slice(48, 128))
    radius = network.config.receptive_radius_px // 2
    difference = network.features(whole)[..., *coarse] - network.features(whole[..., *tile])
    assert difference[..., radius:-radius, radius:-radius].abs().max() > 0.1


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
    half: Any = network.folded().to(device=device, dtype=precision)
    correction = half.correction(pixels.to(device, precision)).float().cpu()
    assert correction.abs().max() > 0.02
    assert (pixels + correction - expected).abs().max() < LARGEST_HALF_ERROR[precision]

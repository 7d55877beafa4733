"""The estimator: which places it looks at, and what changes its description and what does not."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest
import torch

from service.frame_codec import ImageArray
from service.model.estimator import (
    DESCRIPTION_LENGTH,
    GRID_PX,
    SQUARE_PX,
    DegradationEstimator,
    Pooling,
    luma_of,
    luma_squares,
    sample_image,
    sampled_places,
)
from tests.service.pictures import sample


def estimator_of(pooling: Pooling) -> DegradationEstimator:
    torch.manual_seed(0)
    return DegradationEstimator(pooling=pooling).eval()


@pytest.fixture(params=get_args(Pooling))
def estimator(request: pytest.FixtureRequest) -> DegradationEstimator:
    return estimator_of(request.param)


def pixels_of(*images: ImageArray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def described(estimator: DegradationEstimator, *images: ImageArray) -> torch.Tensor:
    with torch.inference_mode():
        description: torch.Tensor = estimator(pixels_of(*images))
        return description


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (64, [0]),
        (100, [0]),
        (256, [0, 64, 128, 192]),
        # 720 - 64 = 656 px in five steps of 131.2, each start rounded down to a multiple of 8.
        (720, [0, 128, 256, 392, 520, 656]),
        (4000, [0, 784, 1568, 2360, 3144, 3936]),
    ],
)
def test_the_sampled_places_are_evenly_spread_runs_of_64(length: int, starts: list[int]) -> None:
    runs = sampled_places(length).reshape(-1, SQUARE_PX)
    assert runs[:, 0].tolist() == starts
    assert (np.diff(runs, axis=1) == 1).all()


def test_a_single_row_is_looked_at_64_times() -> None:
    assert sampled_places(1).tolist() == [0] * 64


@pytest.mark.parametrize("length", [1, 7, 63, 65, 127, 128, 511, 512, 513, 1079, 8001])
def test_sampled_places_are_inside_and_their_runs_begin_on_the_grid(length: int) -> None:
    places = sampled_places(length)
    assert places.min() == 0
    assert places.max() < length
    assert (places.reshape(-1, SQUARE_PX)[:, 0] % GRID_PX == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (40, 200), (64, 64), (100, 130), (256, 256), (700, 1000)])
def test_a_sampled_image_is_described_as_the_whole_of_it(
    estimator: DegradationEstimator, size: tuple[int, int]
) -> None:
    image = _cut(*size)
    squares = sample_image(image)
    assert squares.shape[0] % SQUARE_PX == squares.shape[1] % SQUARE_PX == 0
    assert max(squares.shape) <= 512
    whole = described(estimator, image)
    assert whole.shape == (1, DESCRIPTION_LENGTH)
    assert whole.dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(estimator.describe_squares(pixels_of(squares)), whole)


def test_pictures_of_a_batch_are_described_each_by_itself(estimator: DegradationEstimator) -> None:
    first, second = _cut(128, 192), sample("museum")[:128, :192]
    both = described(estimator, first, second)
    torch.testing.assert_close(both[:1], described(estimator, first), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[1:], described(estimator, second), atol=1e-5, rtol=1e-5)
    assert (both[0] - both[1]).abs().max() > 0.01


def test_brightness_changes_the_description_next_to_nothing_and_blur_changes_it_much(
    estimator: DegradationEstimator,
) -> None:
    dark = _cut(192, 192) // 2
    brighter = dark + np.uint8(100)
    blurred = cv2.GaussianBlur(dark, (0, 0), 1.5).astype(np.uint8)
    plain = described(estimator, dark)
    by_brightness = (described(estimator, brighter) - plain).abs().max()
    by_blur = (described(estimator, blurred) - plain).abs().max()
    assert by_brightness < 1e-3
    assert by_blur > 100 * by_brightness


def test_contrast_cancels_out_but_for_the_filters_biases(estimator: DegradationEstimator) -> None:
    pixels = pixels_of(_cut(192, 192))
    with torch.no_grad():
        for filters in (estimator.fine, estimator.coarse):
            assert filters.bias is not None
            filters.bias.zero_()
        plain, flatter = estimator(pixels), estimator(0.5 * pixels + 0.2)
    tolerance = 0.02 if estimator.relevance is None else 0.06  # flatter squares count for less
    torch.testing.assert_close(flatter, plain, atol=tolerance, rtol=0)


def squares_of_one_picture() -> torch.Tensor:
    """The magnitudes of 16 squares, (1, 16, D), of which half of the filters have little."""
    torch.manual_seed(1)
    magnitudes = torch.rand(1, 16, DESCRIPTION_LENGTH) + 0.2
    magnitudes[..., ::2] /= 10
    return magnitudes


def test_one_sharp_square_of_many_says_little_where_squares_are_weighted() -> None:
    """By a mean of magnitudes it says nearly as much as if all were sharp."""
    blurred = squares_of_one_picture()
    sharp = blurred.clone()
    sharp[..., ::2] *= 10
    overlaid = blurred.clone()
    overlaid[:, 5] = 10 * sharp[:, 5]  # text: its contrast is high, too

    def share_of_the_way(pooling: Pooling) -> float:
        estimator = estimator_of(pooling)
        with torch.inference_mode():
            one, some, all_of_it = map(estimator.description_of, (blurred, overlaid, sharp))
        return float((some - one).norm() / (all_of_it - one).norm())

    assert share_of_the_way("weighted") < 0.15
    assert share_of_the_way("mean") > 0.4


def test_flat_squares_say_next_to_nothing_where_squares_are_weighted() -> None:
    picture = squares_of_one_picture()
    walls = torch.full_like(picture, 1e-4)
    estimator = estimator_of("weighted")
    with_walls = estimator.description_of(torch.cat((picture, walls), dim=1))
    torch.testing.assert_close(with_walls, estimator.description_of(picture), atol=0.02, rtol=0)


def test_squares_that_count_for_nothing_say_nothing(estimator: DegradationEstimator) -> None:
    picture = squares_of_one_picture()
    counts = torch.zeros(16, 1)
    counts[:4] = 0.25
    counted = estimator.description_of(picture, counts)
    torch.testing.assert_close(counted, estimator.description_of(picture[:, :4]))


def test_the_fine_filters_see_the_laplacian_of_the_luma_unshuffled(
    estimator: DegradationEstimator,
) -> None:
    square = sample("museum")[:SQUARE_PX, :SQUARE_PX]
    luma = (square.astype(np.float64) / 255) @ [0.299, 0.587, 0.114]
    kernel = np.array([[1, 2, 1], [2, -12, 2], [1, 2, 1]]) * 8 / 12
    laplacian = cv2.filter2D(luma, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    places = laplacian.reshape(16, 4, 16, 4).transpose(1, 3, 0, 2).reshape(1, 16, 16, 16)
    with torch.inference_mode():
        fine = estimator.fine(torch.from_numpy(places).float()).abs().mean(dim=(2, 3))
        magnitudes = estimator.magnitudes(pixels_of(square))
    torch.testing.assert_close(magnitudes[:, : fine.shape[1]], fine, rtol=1e-4, atol=1e-6)


def test_the_description_is_in_fp32_under_autocast_too(estimator: DegradationEstimator) -> None:
    pixels = pixels_of(_cut(128, 128))
    with torch.inference_mode():
        plain = estimator(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            same = estimator(pixels)
    assert same.dtype == torch.float32
    assert torch.equal(same, plain)


def test_every_parameter_gets_a_gradient(estimator: DegradationEstimator) -> None:
    estimator.train()
    weights = torch.randn(DESCRIPTION_LENGTH)
    (estimator(pixels_of(_cut(128, 128))) * weights).sum().backward()
    silent = [
        name for name, p in estimator.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert silent == []


def test_luma_by_hand() -> None:
    primaries = torch.eye(3)[:, :, None, None]
    assert luma_of(primaries).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])


def _cut(height: int, width: int) -> ImageArray:
    image: ImageArray = np.tile(sample("colosseum"), (2, 2, 1))[:height, :width]
    return image.copy()


@pytest.mark.parametrize("size_px", [(20, 30), (64, 64), (200, 330), (481, 700)])
def test_the_luma_of_the_squares_describes_a_picture_as_their_pixels_do(
    estimator: DegradationEstimator, size_px: tuple[int, int]
) -> None:
    sampled = sample_image(sample("museum")[: size_px[0], : size_px[1]])
    pixels = torch.from_numpy(sampled).permute(2, 0, 1)[None].float() / 255
    by_luma = estimator.describe_luma(torch.from_numpy(luma_squares(sampled)))
    torch.testing.assert_close(by_luma, estimator.describe_squares(pixels), rtol=1e-4, atol=1e-4)

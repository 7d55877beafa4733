"""The operators on images: sizes kept, strengths as announced, values by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer.operators import (
    ImageArray,
    add_halo,
    add_sensor_noise,
    blur_defocus,
    blur_gaussian,
    blur_motion,
    compress_jpeg,
    compress_webp,
    defocus_kernel,
    motion_kernel,
    rescale,
)
from trainer.quality import image_psnr_db

OPERATORS: dict[str, Callable[[ImageArray], ImageArray]] = {
    "gaussian": lambda image: blur_gaussian(image, sigma_px=2.6),
    "defocus": lambda image: blur_defocus(image, radius_px=4),
    "motion": lambda image: blur_motion(image, length_px=12, angle_deg=30, bend_deg=60),
    "halo": lambda image: add_halo(image, radius_px=2, amount=1),
    "noise": lambda image: add_sensor_noise(image, rng(), read=4, shot=4),
    "jpeg": lambda image: compress_jpeg(image, quality=30),
    "webp": lambda image: compress_webp(image, quality=30),
    "rescale": lambda image: rescale(image, factor=4),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def impulse(size: int = 15) -> ImageArray:
    image = np.zeros((size, size, 3), np.uint8)
    image[size // 2, size // 2] = 255
    return image


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 97)])
def test_every_operator_keeps_size_and_type_and_its_input(
    operator: str, size: tuple[int, int]
) -> None:
    image = sample("colosseum")[: size[0], : size[1]].copy()
    before = image.copy()
    degraded = OPERATORS[operator](image)
    assert degraded.shape == image.shape
    assert degraded.dtype == np.uint8
    assert degraded.flags.c_contiguous
    assert np.array_equal(image, before)


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"noise"}))
def test_a_flat_picture_stays_flat(operator: str) -> None:
    flat = np.full((48, 40, 3), 128, np.uint8)
    # WebP counts levels from 16 to 235, so that not all of 0 to 255 come back.
    atol = 1 if operator == "webp" else 0
    np.testing.assert_allclose(OPERATORS[operator](flat).astype(int), flat, atol=atol)


def test_a_wider_blur_removes_more() -> None:
    image = sample("colosseum")
    for kept in (
        [image_psnr_db(blur_gaussian(image, sigma_px=s), image) for s in (0.5, 1.0, 2.0)],
        [image_psnr_db(blur_defocus(image, radius_px=r), image) for r in (0.7, 1.0, 1.3, 4.0)],
        [
            image_psnr_db(blur_motion(image, length_px=px, angle_deg=20), image)
            for px in (1.5, 3, 9)
        ],
    ):
        assert kept == sorted(kept, reverse=True)


def test_blur_of_an_impulse_is_the_gaussian() -> None:
    blurred = blur_gaussian(impulse(), sigma_px=1.0)
    expected = 255 / (2 * np.pi) * np.exp(-(np.array([0, 1, 2]) ** 2) / 2)
    assert blurred[7, 7:10, 0].tolist() == pytest.approx(expected, abs=1.2)


def test_a_disc_covers_its_pixels_by_their_shares() -> None:
    assert defocus_kernel(0.5).shape == (1, 1)
    kernel = defocus_kernel(1.0)
    assert kernel.shape == (3, 3)
    # Of the unit disc's area pi the middle pixel has 1; a corner's piece and a side's, by integral:
    # corner = pi/12 + 1/4 - sqrt(3)/4, four sides share what is left.
    corner = np.pi / 12 + 1 / 4 - np.sqrt(3) / 4
    side = (np.pi - 1 - 4 * corner) / 4
    assert kernel[1, 1] == pytest.approx(1 / np.pi, rel=0.01)
    assert kernel[0, 1] == pytest.approx(side / np.pi, rel=0.02)
    assert kernel[0, 0] == pytest.approx(corner / np.pi, rel=0.08)


@pytest.mark.parametrize("radius_px", [0.3, 0.8, 1.5, 2.49, 2.51, 4.0])
def test_a_disc_is_symmetric_and_sums_to_one(radius_px: float) -> None:
    kernel = defocus_kernel(radius_px)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    for other in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        assert np.allclose(kernel, other, atol=1e-6)


def test_a_straight_path_is_a_line_of_its_length() -> None:
    kernel = motion_kernel(5, 0)
    middle = len(kernel) // 2
    assert kernel[middle].sum() == pytest.approx(1, abs=1e-6)
    assert kernel[middle, middle - 1 : middle + 2] == pytest.approx([0.2, 0.2, 0.2], abs=0.01)
    assert np.count_nonzero(kernel[middle] > 1e-6) == 7  # five pixels, the ends spread over two


@pytest.mark.parametrize(("angle_deg", "bend_deg"), [(0, 0), (33, 0), (120, 80), (270, -180)])
def test_motion_does_not_move_the_picture(angle_deg: float, bend_deg: float) -> None:
    kernel = motion_kernel(9, angle_deg, bend_deg).astype(float)
    places = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert (kernel.sum(axis=1) * places).sum() == pytest.approx(0, abs=1e-5)
    assert (kernel.sum(axis=0) * places).sum() == pytest.approx(0, abs=1e-5)


def test_angles_are_counter_clockwise() -> None:
    blurred = blur_motion(impulse(), length_px=8, angle_deg=45)[..., 0]
    assert blurred[5, 9] > 10
    assert blurred[9, 5] > 10
    assert blurred[5, 5] == blurred[9, 9] == 0


def test_a_bent_path_leaves_the_line() -> None:
    straight, bent = (motion_kernel(10, 0, bend_deg) for bend_deg in (0, 90))
    assert np.count_nonzero(straight.sum(axis=1) > 0.01) == 1
    assert np.count_nonzero(bent.sum(axis=1) > 0.01) > 2


def test_motion_puts_an_impulse_where_the_kernel_has_its_weights() -> None:
    kernel = motion_kernel(6, 20, 70)
    half = len(kernel) // 2
    blurred = blur_motion(impulse(), length_px=6, angle_deg=20, bend_deg=70)
    seen = blurred[7 - half : 8 + half, 7 - half : 8 + half, 1]
    assert np.abs(seen - 255 * kernel).max() <= 0.5 + 1e-3


def test_a_halo_over_and_undershoots_along_an_edge() -> None:
    edge = np.full((20, 40, 3), 60, np.uint8)
    edge[:, 20:] = 190
    haloed = add_halo(edge, radius_px=1.0, amount=0.8)[10, :, 0].astype(int)
    # The Gaussian of an edge is half of a pixel's own weight past the middle there.
    weights = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    overshoot = 0.8 * 130 * (weights / weights.sum())[:4].sum()
    assert haloed[20] == pytest.approx(190 + overshoot, abs=1)
    assert haloed[19] == pytest.approx(60 - overshoot, abs=1)
    assert haloed[5] == 60
    assert haloed[35] == 190


@pytest.mark.parametrize(("read", "shot"), [(4.0, 0.0), (0.5, 8.0)])
def test_noise_has_the_deviation_that_was_asked_for(read: float, shot: float) -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    noise = add_sensor_noise(grey, rng(), read=read, shot=shot).astype(float) - 128
    expected = np.sqrt(read**2 + shot**2 * 128 / 255 + 1 / 12)
    assert noise.std() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 0.1


@pytest.mark.parametrize("compress", [compress_jpeg, compress_webp])
def test_lower_quality_is_worse(compress: Callable[..., ImageArray]) -> None:
    image = sample("woman-with-hat")
    kept = [image_psnr_db(compress(image, quality=q), image) for q in (95, 60, 20)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] < 50


@pytest.mark.parametrize("compress", [compress_jpeg, compress_webp])
def test_compression_keeps_the_colour_order(compress: Callable[..., ImageArray]) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert compress(red, quality=90)[16, 16, 0] > 190


def test_rescale_hands_the_small_picture_to_what_comes_between() -> None:
    seen = []

    def between(small: ImageArray) -> ImageArray:
        seen.append(small.shape)
        return small

    rescale(sample("museum")[:90, :60], factor=3, between=between)
    assert seen == [(30, 20, 3)]

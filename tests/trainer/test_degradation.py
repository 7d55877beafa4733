"""Degradations: sizes kept, seeds obeyed, strengths as announced."""

from __future__ import annotations

import numpy as np
import pytest

from service.codec import ImageArray
from tests.service.pictures import sample
from trainer.degradation import (
    PROTOCOLS,
    add_sensor_noise,
    blur_gaussian,
    compress_jpeg,
    degrade_at_random,
    rescale,
)
from trainer.quality import image_psnr_db


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 97)])
def test_every_protocol_keeps_size_and_type(protocol: str, size: tuple[int, int]) -> None:
    image = sample("colosseum")[: size[0], : size[1]]
    degraded = PROTOCOLS[protocol](image, rng())
    assert degraded.shape == image.shape
    assert degraded.dtype == np.uint8
    assert degraded.flags.c_contiguous


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_is_the_same_for_the_same_seed(protocol: str) -> None:
    image = sample("colosseum")[:96, :96]
    first, second = (PROTOCOLS[protocol](image, rng(5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_only_untouched_leaves_a_picture_alone() -> None:
    image = sample("colosseum")[:128, :128]
    unchanged = {
        name for name, degrade in PROTOCOLS.items() if np.array_equal(degrade(image, rng()), image)
    }
    assert unchanged == {"untouched"}


def test_the_image_itself_is_never_changed() -> None:
    image = sample("museum")[:64, :64].copy()
    before = image.copy()
    for seed in range(50):
        degrade_at_random(image, rng(seed))
    assert np.array_equal(image, before)


def test_a_wider_blur_removes_more() -> None:
    image = sample("colosseum")
    kept = [image_psnr_db(blur_gaussian(image, sigma_px=s), image) for s in (0.5, 1.0, 2.0)]
    assert kept == sorted(kept, reverse=True)


def test_blur_of_an_impulse_is_the_gaussian() -> None:
    image = np.zeros((15, 15, 3), np.uint8)
    image[7, 7] = 255
    blurred = blur_gaussian(image, sigma_px=1.0)
    expected = 255 / (2 * np.pi) * np.exp(-(np.array([0, 1, 2]) ** 2) / 2)
    assert blurred[7, 7:10, 0].tolist() == pytest.approx(expected, abs=1.2)


@pytest.mark.parametrize(("read", "shot"), [(4.0, 0.0), (0.5, 8.0)])
def test_noise_has_the_deviation_that_was_asked_for(read: float, shot: float) -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    noise = add_sensor_noise(grey, rng(), read=read, shot=shot).astype(float) - 128
    expected = np.sqrt(read**2 + shot**2 * 128 / 255 + 1 / 12)
    assert noise.std() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 0.1


def test_jpeg_of_lower_quality_is_worse() -> None:
    image = sample("woman-with-hat")
    kept = [image_psnr_db(compress_jpeg(image, quality=q), image) for q in (95, 60, 20)]
    assert kept == sorted(kept, reverse=True)


def test_jpeg_keeps_the_colour_order() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert compress_jpeg(red, quality=90)[16, 16, 0] > 190


def test_rescale_hands_the_small_picture_to_what_comes_between() -> None:
    seen = []

    def between(small: ImageArray) -> ImageArray:
        seen.append(small.shape)
        return small

    rescale(sample("museum")[:90, :60], factor=3, between=between)
    assert seen == [(30, 20, 3)]


def test_random_degradations_depend_on_the_generator_alone() -> None:
    image = sample("man-in-profile")[:128, :128]
    for seed in range(30):
        first, second = (degrade_at_random(image, rng(seed)) for _ in range(2))
        assert np.array_equal(first, second)


def test_the_announced_share_stays_clean() -> None:
    image = sample("colosseum")[:64, :64]
    clean = [
        np.array_equal(degrade_at_random(image, rng(s), clean_share=0.3), image) for s in range(300)
    ]
    assert 0.22 < np.mean(clean) < 0.4
    assert np.array_equal(degrade_at_random(image, rng(), clean_share=1), image)

"""Fixed protocols that stay what they are, and random degradations that obey their seeds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.service.pictures import sample
from trainer.degradation import (
    PROTOCOLS,
    Mixture,
    add_sensor_noise,
    compress_jpeg,
    degrade_at_random,
    degrade_sample,
)
from trainer.operators import ImageArray
from trainer.wide_protocols import EVERY_PROTOCOL, WIDE_PROTOCOLS


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("protocol", EVERY_PROTOCOL)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 97)])
def test_every_protocol_keeps_size_and_type(protocol: str, size: tuple[int, int]) -> None:
    image = sample("colosseum")[: size[0], : size[1]]
    degraded = EVERY_PROTOCOL[protocol](image, rng())
    assert degraded.shape == image.shape
    assert degraded.dtype == np.uint8
    assert degraded.flags.c_contiguous


@pytest.mark.parametrize("protocol", EVERY_PROTOCOL)
def test_every_protocol_is_the_same_for_the_same_seed(protocol: str) -> None:
    image = sample("colosseum")[:96, :96]
    first, second = (EVERY_PROTOCOL[protocol](image, rng(5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_only_untouched_leaves_a_picture_alone() -> None:
    image = sample("colosseum")[:128, :128]
    unchanged = {
        name
        for name, degrade in EVERY_PROTOCOL.items()
        if np.array_equal(degrade(image, rng()), image)
    }
    assert unchanged == {"untouched"}


def _by_pillow(image: ImageArray, factor: int) -> ImageArray:
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize(
        (width // factor, height // factor), Image.Resampling.BICUBIC
    )
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def _by_opencv(image: ImageArray, factor: float) -> ImageArray:
    height, width = image.shape[:2]
    small_size = (round(width / factor), round(height / factor))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, dtype=np.uint8)


def _blurred(image: ImageArray, sigma_px: float) -> ImageArray:
    blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma_px)
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)


def _by_webcam(image: ImageArray) -> ImageArray:
    noisy = add_sensor_noise(_blurred(image, 1.0), rng(3), read=4.0)
    return compress_jpeg(_by_opencv(noisy, 1.5), quality=45)


def test_the_protocols_are_for_good_what_their_names_say() -> None:
    image = np.ascontiguousarray(sample("woman-with-hat")[:192, :160])
    expected = {
        "bicubic x2": _by_pillow(image, 2),
        "bicubic x4": _by_pillow(image, 4),
        "bicubic x2 aliased": _by_opencv(image, 2),
        "bicubic x4 aliased": _by_opencv(image, 4),
        "gaussian 1.0": _blurred(image, 1.0),
        "gaussian 2.0": _blurred(image, 2.0),
        "webcam": _by_webcam(image),
        "untouched": image,
    }
    assert set(expected) == set(PROTOCOLS)
    for name, degraded in expected.items():
        assert np.array_equal(PROTOCOLS[name](image, rng(3)), degraded), name


def test_no_two_protocols_are_alike() -> None:
    image = np.ascontiguousarray(sample("woman-with-hat")[:96, :96])
    results = {degrade(image, rng(3)).tobytes() for degrade in EVERY_PROTOCOL.values()}
    assert len(results) == len(PROTOCOLS) + len(WIDE_PROTOCOLS) == len(EVERY_PROTOCOL)


def test_the_image_itself_is_never_changed() -> None:
    image = sample("museum")[:64, :64].copy()
    before = image.copy()
    for seed in range(50):
        degraded = degrade_at_random(image, rng(seed))
        assert not np.shares_memory(degraded, image)
    assert np.array_equal(image, before)


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


def test_the_mixture_decides_what_is_drawn() -> None:
    image = np.full((32, 32, 3), 100, np.uint8)
    only_noise, only_blur = Mixture({"noise": 1}), Mixture({"gaussian": 1})
    for seed in range(10):
        noisy = degrade_at_random(image, rng(seed), clean_share=0, mixture=only_noise)
        blurred = degrade_at_random(image, rng(seed), clean_share=0, mixture=only_blur)
        assert noisy.std() > 0
        assert blurred.std() == 0


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    image = sample("man-in-profile")[:64, :64]
    first, again = (degrade_sample(image, seed=4, number=n, clean_share=0) for n in (7, 7))
    assert np.array_equal(first, again)
    others = [
        degrade_sample(image, seed=seed, number=number, clean_share=0)
        for seed, number in ((4, 8), (5, 7))
    ]
    assert not any(np.array_equal(first, other) for other in others)

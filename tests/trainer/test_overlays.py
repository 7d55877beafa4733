"""What is drawn on training pictures: the same on both, sharp, and by the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer import overlays
from trainer.mixture import Mixture
from trainer.operators import ImageArray, blur_gaussian
from trainer.overlays import overlay_pair

NOISE = Mixture({"noise": 1.0})


@pytest.fixture(scope="module")
def clean() -> ImageArray:
    image: ImageArray = sample("museum")[:128, :160].copy()
    return image


@pytest.fixture(scope="module")
def degraded(clean: ImageArray) -> ImageArray:
    return blur_gaussian(clean, sigma_px=2.0)


def drawn(degraded: ImageArray, clean: ImageArray, seed: int) -> tuple[ImageArray, ImageArray]:
    return overlay_pair(degraded, clean, np.random.default_rng(seed), mixture=NOISE)


def test_what_is_drawn_is_on_both_and_the_rest_is_as_it_was(
    degraded: ImageArray, clean: ImageArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlays, "_COMPRESSED_SHARE", 0.0)
    monkeypatch.setattr(overlays, "_TILE_DEGRADED_SHARE", 0.0)
    sizes = []
    for seed in range(40):
        below, above = drawn(degraded, clean, seed)
        is_drawn = (above != clean).any(axis=2)
        # Half transparent, it lets a part of the difference through.
        difference = np.abs(below.astype(int) - above).max(axis=2)
        own = np.abs(degraded.astype(int) - clean).max(axis=2)
        assert (difference[is_drawn] <= own[is_drawn] + 1).mean() > 0.9
        # A tile may have the original's colour here and there.
        is_changed = (below != degraded).any(axis=2)
        assert (is_changed & ~is_drawn).mean() < 0.05
        sizes.append(is_drawn.mean())
    assert np.mean(np.array(sizes) > 0.02) > 0.7
    assert 0.05 < np.mean(sizes) < 0.5


def test_half_of_the_pictures_in_the_picture_are_degraded_in_another_way(
    clean: ImageArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlays, "_COMPRESSED_SHARE", 0.0)
    monkeypatch.setattr(overlays, "_TEXT_SHARE", 0.0)
    is_noisy = [not np.array_equal(*drawn(clean, clean, seed)) for seed in range(40)]
    assert 10 < sum(is_noisy) < 30


def test_all_of_it_is_compressed_at_last_in_some(
    clean: ImageArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlays, "_TEXT_SHARE", 1.0)
    is_compressed = [not np.array_equal(*drawn(clean, clean, seed)) for seed in range(40)]
    assert 5 < sum(is_compressed) < 20


def test_the_pictures_passed_in_stay_as_they_are_and_a_seed_gives_the_same_again(
    degraded: ImageArray, clean: ImageArray
) -> None:
    before = degraded.copy(), clean.copy()
    for seed in range(12):
        first, second = drawn(degraded, clean, seed), drawn(degraded, clean, seed)
        assert all(map(np.array_equal, first, second))
    assert np.array_equal(degraded, before[0])
    assert np.array_equal(clean, before[1])


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (200, 33)])
def test_small_and_narrow_crops_are_drawn_on(size: tuple[int, int]) -> None:
    image = sample("museum")[: size[0], : size[1]].copy()
    for seed in range(30):
        below, above = drawn(image, image, seed)
        assert below.shape == above.shape == image.shape

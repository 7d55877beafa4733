"""Screens to train on: they stand still for the most part, and change at once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer.screen_scene import screen_scene


@pytest.mark.parametrize("seed", range(8))
def test_a_screen_has_the_size_that_is_asked_for_whatever_the_pictures(seed: int) -> None:
    pictures = [sample("museum"), sample("museum")[:5, :700], sample("museum")[:1, :1]]
    clip = screen_scene(pictures, np.random.default_rng(seed), frames=7, size_px=(90, 160))
    assert clip.shape == (7, 90, 160, 3)
    assert clip.dtype == np.uint8
    assert clip[0].std() > 5  # there is something on it


def test_a_screen_depends_on_its_seed_alone() -> None:
    one, again, other = (
        screen_scene([sample("museum")], np.random.default_rng(s), frames=5, size_px=(90, 160))
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_most_pixels_stay_and_some_change_much() -> None:
    still, largest = [], 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        clip = screen_scene([sample("museum")], rng, frames=12, size_px=(180, 320)).astype(int)
        change = np.abs(np.diff(clip, axis=0)).max(axis=3)
        still.append((change == 0).mean())
        largest = max(largest, int(change.max()))
    assert np.mean(still) > 0.5
    assert largest > 100

"""Filmed pictures: what moves, what stands still, and the sensor's noise."""

from __future__ import annotations

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer.call_scene import call_scene
from trainer.operators import ImageArray

SIZE_PX = (120, 160)


@pytest.fixture(scope="module")
def picture() -> ImageArray:
    return np.ascontiguousarray(sample("museum")[:300, :400])


def test_a_scene_has_the_size_and_number_of_frames_that_were_asked_for(picture: ImageArray) -> None:
    scene = call_scene(picture, np.random.default_rng(0), frames=6, size_px=SIZE_PX)
    assert scene.clean.shape == scene.filmed.shape == (6, *SIZE_PX, 3)
    assert scene.clean.dtype == scene.filmed.dtype == np.uint8


def test_a_scene_depends_on_the_generator_alone(picture: ImageArray) -> None:
    first, again, other = (
        call_scene(picture, np.random.default_rng(seed), frames=4, size_px=SIZE_PX)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.filmed, again.filmed)
    assert not np.array_equal(first.clean, other.clean)


def test_in_most_scenes_a_part_stands_still_and_a_part_moves(picture: ImageArray) -> None:
    shares = []
    for seed in range(24):
        clean = call_scene(
            picture, np.random.default_rng(seed), frames=8, size_px=SIZE_PX
        ).clean.astype(int)
        shares.append(np.mean(np.abs(clean[-1] - clean[0]).max(axis=2) == 0))
    assert np.mean([0.05 < share < 0.95 for share in shares]) > 0.5
    assert min(shares) < 0.4  # the camera moves too


def test_noise_is_in_what_is_filmed_and_never_in_the_clean_clip(picture: ImageArray) -> None:
    deviations = []
    for seed in range(24):
        scene = call_scene(picture, np.random.default_rng(seed), frames=3, size_px=SIZE_PX)
        noise = scene.filmed.astype(int) - scene.clean
        deviations.append(float(noise.std()))
        assert abs(noise.mean()) < 0.2
    is_noisy = [deviation > 0 for deviation in deviations]
    assert any(is_noisy)
    assert not all(is_noisy)
    assert max(deviations) < 2.6


def test_a_picture_smaller_than_the_frame_is_refused(picture: ImageArray) -> None:
    with pytest.raises(ValueError, match="400x300 px, smaller than the frame of 640x360 px"):
        call_scene(picture, np.random.default_rng(0), frames=2, size_px=(360, 640))

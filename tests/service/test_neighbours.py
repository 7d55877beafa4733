"""What the fusion network is shown of a frame and those around it."""

from __future__ import annotations

import numpy as np

from service.model.neighbours import (
    LARGEST_DIFFERENCE,
    Shot,
    around,
    beside_neighbours,
    luma_levels,
)
from tests.service.pictures import sample

IMAGE = sample("museum")[:48, :64]
SHARPENED = np.minimum(IMAGE, 245) + np.uint8(10)
SHOT = Shot(IMAGE, SHARPENED)


def test_luma_by_hand() -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [100, 100, 100]], np.uint8)
    np.testing.assert_allclose(luma_levels(colours), (76.245, 149.685, 29.07, 100), rtol=1e-5)


def test_a_neighbour_that_is_the_frame_again_differs_in_nothing() -> None:
    planes, differences = beside_neighbours(SHOT, [SHOT, None])
    assert planes.shape == (6, 48, 64)
    assert differences.shape == (2, 48, 64, 3)
    np.testing.assert_allclose(planes[0], luma_levels(SHARPENED))
    np.testing.assert_allclose(planes[1], luma_levels(IMAGE) - luma_levels(SHARPENED))
    assert np.abs(planes[2:]).max() < 1e-3
    assert not differences.any()


def test_a_brighter_neighbour_differs_by_as_much_as_it_is_brighter() -> None:
    flat = np.full((48, 64, 3), 100, np.uint8)
    planes, differences = beside_neighbours(
        Shot(flat, flat), [None, Shot(flat + np.uint8(5), flat + np.uint8(90))]
    )
    np.testing.assert_allclose(planes[3], 90, rtol=1e-5)  # sharpened
    np.testing.assert_allclose(planes[5], 5, rtol=1e-5)  # as it came
    np.testing.assert_array_equal(differences[1], LARGEST_DIFFERENCE)
    assert not planes[[2, 4]].any()


def test_around_a_frame_are_the_one_before_and_three_after_where_they_are() -> None:
    shots = [Shot(IMAGE[:1, :1], IMAGE[:1, t : t + 1]) for t in range(5)]
    first, second, third, fourth, fifth = shots
    assert around(shots, 1) == [first, third, fourth, fifth]
    assert around(shots, 0, look_ahead=2) == [None, second, third, None]
    assert around(shots, 4) == [fourth, None, None, None]
    assert around([None, second, None], 1) == [None, None, None, None]

"""What the fusion network is shown of a frame and those around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.model.neighbours import (
    LARGEST_DIFFERENCE,
    Fused,
    Shot,
    beside_neighbours,
    luma_levels,
)
from tests.service.pictures import sample

IMAGE = sample("museum")[:48, :64]
SHARPENED = np.minimum(IMAGE, 245) + np.uint8(10)
FRAME = Fused.alone(Shot(IMAGE, SHARPENED))


def flat(level: int, *, sharpened: int, fused: float) -> Fused:
    shape = (48, 64, 3)
    alone = Fused.alone(Shot(*(np.full(shape, each, np.uint8) for each in (level, sharpened))))
    return replace(alone, levels=np.full(shape, fused, np.float32))


def test_luma_by_hand() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [100, 100, 100]]], np.float32)
    np.testing.assert_allclose(luma_levels(colours), [(76.245, 149.685, 29.07, 100)], rtol=1e-5)


def test_a_neighbour_that_is_the_frame_again_differs_in_nothing() -> None:
    planes, differences = beside_neighbours(FRAME, [FRAME, None, FRAME])
    assert planes.shape == (11, 48, 64)
    assert differences.shape == (3, 48, 64, 3)
    np.testing.assert_allclose(planes[0], luma_levels(SHARPENED.astype(np.float32)))
    # The luma of what came is rounded.
    whole = luma_levels(IMAGE.astype(np.float32)) - planes[0]
    np.testing.assert_allclose(planes[1], whole, atol=0.51)
    assert np.abs(planes[2:]).max() < 1e-3
    assert not differences.any()


def test_what_a_neighbour_gathered_is_told_apart_from_what_it_was() -> None:
    planes, differences = beside_neighbours(
        flat(100, sharpened=100, fused=100), [None, flat(105, sharpened=110, fused=190), None]
    )
    np.testing.assert_allclose(planes[5], 90, rtol=1e-5)  # fused, from the sharpened frame
    np.testing.assert_allclose(planes[6], 80, rtol=1e-5)  # fused, from its own sharpened frame
    np.testing.assert_allclose(planes[7], 5, rtol=1e-5)  # as they came
    np.testing.assert_array_equal(differences[1], 0)  # brighter all around: another thing
    assert not planes[2:5].any()
    assert not planes[8:].any()


def test_differences_are_cut() -> None:
    frame = flat(100, sharpened=100, fused=100)
    neighbour = replace(frame, levels=frame.levels.copy())
    neighbour.levels[20, 30] = 200
    _, (difference, *_) = beside_neighbours(frame, [neighbour, None, None])
    np.testing.assert_allclose(difference[20, 30], LARGEST_DIFFERENCE, atol=0.1)


@pytest.mark.parametrize(("blue", "share"), [(108, 1), (116, 0.228), (160, 0)])
def test_where_the_colour_is_another_one_less_is_taken(blue: int, share: float) -> None:
    """The network sees luma alone, and a coloured thing can be as bright as what it hides."""
    coloured = np.full((48, 64, 3), 100, np.uint8)
    coloured[:, :, 2] = blue
    frame = flat(100, sharpened=100, fused=100)
    neighbour = Fused.alone(Shot(coloured, coloured))
    _, (difference, *_) = beside_neighbours(frame, [neighbour, None, None])
    expected = share * min(blue - 100, LARGEST_DIFFERENCE)
    np.testing.assert_allclose(difference[:, :, 2], expected, atol=0.3)


@pytest.mark.parametrize(("brighter", "share"), [(3, 1), (6, 0.5), (8, 0), (60, 0)])
def test_where_all_around_is_brighter_less_is_taken(brighter: int, share: float) -> None:
    frame = flat(100, sharpened=100, fused=100)
    level = 100 + brighter
    neighbour = flat(level, sharpened=level, fused=level)
    _, (difference, *_) = beside_neighbours(frame, [neighbour, None, None])
    np.testing.assert_allclose(difference, share * brighter, atol=1e-3)


def test_what_was_gathered_over_many_steps_is_left_when_it_is_too_bright() -> None:
    frame = flat(100, sharpened=100, fused=100)
    _, (difference, *_) = beside_neighbours(
        frame, [flat(102, sharpened=102, fused=112), None, None]
    )
    np.testing.assert_array_equal(difference, 0)


def test_a_picture_of_it_is_rounded_and_has_as_much_as_is_asked_for() -> None:
    fused = flat(100, sharpened=100, fused=110.6)
    assert set(fused.picture().flat) == {111}
    assert set(fused.picture(0.5).flat) == {105}
    assert set(fused.picture(0.0).flat) == {100}
    np.testing.assert_array_equal(FRAME.picture(), SHARPENED)

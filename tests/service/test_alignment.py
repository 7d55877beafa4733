"""Motion between frames, and frames moved by it, on a photograph that was shifted."""

from __future__ import annotations

import numpy as np
import pytest

from service.model.alignment import SMALLEST_SIDE_PX, luma, motion, moved
from tests.service.pictures import sample


@pytest.mark.parametrize(("down", "across"), [(0, 0), (3, -5), (-8, 2)])
def test_a_shifted_photograph_is_found_and_brought_back(down: int, across: int) -> None:
    picture = sample("man-in-profile")
    here = picture[100:300, 150:410]
    there = picture[100 - down : 300 - down, 150 - across : 410 - across]
    by = motion(luma(here), luma(there))
    inner = np.s_[24:-24, 24:-24]
    np.testing.assert_allclose(np.median(by[inner], axis=(0, 1)), (across, down), atol=0.1)
    error = np.abs(moved([there], by)[0][inner].astype(int) - here[inner])
    assert np.median(error) <= 1
    assert error.mean() < 3


def test_nothing_moves_where_two_frames_are_alike() -> None:
    picture = sample("museum")[:64, :96]
    by = motion(luma(picture), luma(picture))
    assert by.shape == (64, 96, 2)
    assert not by.any()
    np.testing.assert_array_equal(moved([picture], by)[0], picture)


def test_motion_by_hand() -> None:
    line = np.arange(12, dtype=np.float32)[None].repeat(3, axis=0)
    by = np.zeros((3, 12, 2), np.float32)
    by[:, :, 0] = 2
    np.testing.assert_allclose(moved([line], by)[0][:, :10], line[:, :10] + 2)
    np.testing.assert_allclose(moved([line], by)[0][:, 11], 11)  # the border is repeated


def test_the_smallest_side_is_enough_for_the_search() -> None:
    small = sample("museum")[:SMALLEST_SIDE_PX, :SMALLEST_SIDE_PX]
    assert motion(luma(small), luma(small[::-1])).shape == (*small.shape[:2], 2)

"""service.scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from service.errors import RequestInvalid
from service.scaling import Resize, scaled_to, scaled_with_alpha, upscaled_size
from tests.service.pictures import landscape

Samples = npt.NDArray[Any]


@pytest.mark.parametrize(
    ("text", "size"),
    [("32", (24, 32)), ("1920x1080", (1080, 1440)), ("100x10", (10, 13)), ("40x10!", (10, 40))],
)
def test_a_picture_fits_into_the_box_and_keeps_its_proportions(
    text: str, size: tuple[int, int]
) -> None:
    assert Resize.parse(text).size_for(48, 64) == size


@pytest.mark.parametrize("text", ["", "0", "12x", "-5", "70000", "1920*1080", "9x9!!"])
def test_other_sizes_are_refused_with_what_is_meant(text: str) -> None:
    with pytest.raises(RequestInvalid, match="1920x1080"):
        Resize.parse(text)


@pytest.mark.parametrize("number", [np.uint8, np.uint16])
def test_scaling_keeps_the_type_and_makes_the_size(number: type) -> None:
    image: Samples = landscape().astype(number)
    for size in ((24, 32), (96, 128), (10, 200)):
        assert scaled_to(image, size).shape == (*size, 3)
        assert scaled_to(image, size).dtype == number
    assert scaled_to(image, (48, 64)) is image


def test_scaling_down_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.unique(scaled_to(stripes, (32, 32))).tolist() == [100]


def test_enlarging_rounds_each_side() -> None:
    assert upscaled_size(3, 5, 1.5) == (4, 8)


@pytest.mark.parametrize("size", [(64, 20), (64, 32), (128, 32), (32, 128)])
def test_a_side_that_shrinks_is_antialiased_whatever_the_other_does(size: tuple[int, int]) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    if size[1] < 64:
        stripes[:, ::2] = 200
    else:
        stripes[::2] = 200
    scaled = scaled_to(stripes, size)
    assert scaled.min() > 60
    assert scaled.max() < 140


@pytest.mark.parametrize(("number", "whole"), [(np.uint8, 255), (np.uint16, 65_535)])
def test_what_shows_little_tints_nothing_beside_it(number: type, whole: int) -> None:
    image: Samples = np.zeros((8, 8, 3), number)
    alpha: Samples = np.full((8, 8), whole, number)
    image[:, 4:] = whole  # white that shows whole, beside black that hardly shows
    alpha[:, :3] = whole // 100
    alpha[:, 3] = 0
    scaled, opacity = scaled_with_alpha(image, alpha, (4, 4))
    assert opacity is not None
    assert scaled.dtype == opacity.dtype == number
    assert (scaled[:, 2:] == whole).all()
    assert (scaled[:, 0] == 0).all()
    halved, _ = scaled_with_alpha(image[:, 3:7], alpha[:, 3:7], (8, 2))
    assert (halved == whole).all(), "its hidden neighbour is black"

"""service.scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from service.errors import RequestInvalid
from service.scaling import Resize, scaled_to, upscaled_size
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

"""service.transparency: hidden colours follow what shows, and do not bleed into it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from service.model.sharpener import Sharpener
from service.transparency import with_hidden_colours_filled
from tests.service.pictures import landscape, sample


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_hidden_pixels_take_the_colour_of_the_nearest_that_shows(kind: Any) -> None:
    image = np.zeros((1, 5, 3), kind)
    image[0, 0], image[0, 4] = (10, 20, 30), (200, 100, 50)
    alpha = np.array([[255, 0, 0, 0, 1]], kind)
    filled = with_hidden_colours_filled(image, alpha)
    assert filled.dtype == kind
    assert filled[0, [0, 1, 3, 4]].tolist() == [[10, 20, 30]] * 2 + [[200, 100, 50]] * 2


@pytest.mark.parametrize("level", [0, 1, 255])
def test_where_all_or_nothing_shows_the_image_stays_what_it_is(level: int) -> None:
    alpha = np.full((48, 64), level, np.uint8)
    assert with_hidden_colours_filled(landscape(), alpha) is not None
    np.testing.assert_array_equal(with_hidden_colours_filled(landscape(), alpha), landscape())


def test_what_shows_is_sharpened_alike_whatever_colour_is_hidden() -> None:
    student = Sharpener.load("small")
    picture: Any = cv2.GaussianBlur(sample("colosseum")[100:196, 100:196], (0, 0), 1)
    alpha = np.zeros((96, 96), np.uint8)
    alpha[20:76, 20:76] = 255
    sharpened = []
    for hidden in (0, 255):
        image = np.where(alpha[..., None] == 0, np.uint8(hidden), picture)
        sharpened.append(student.sharpen(with_hidden_colours_filled(image, alpha)))
    np.testing.assert_array_equal(sharpened[0][alpha > 0], sharpened[1][alpha > 0])
    # Without it, the hidden colour is seen.
    raw = [
        student.sharpen(np.where(alpha[..., None] == 0, np.uint8(hidden), picture))
        for hidden in (0, 255)
    ]
    assert np.abs(raw[0].astype(int) - raw[1])[alpha > 0].max() > 4

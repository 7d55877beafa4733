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
def test_hidden_pixels_take_the_colours_that_show_and_those_stay(kind: Any) -> None:
    image = np.zeros((20, 30, 3), kind)
    image[:, :5], image[:, 25:] = (10, 20, 30), (200, 100, 50)
    alpha = np.zeros((20, 30), kind)
    alpha[:, :5], alpha[:, 25:] = 1, 255
    filled = with_hidden_colours_filled(image, alpha)
    assert filled.dtype == kind
    np.testing.assert_array_equal(filled[alpha > 0], image[alpha > 0])
    assert np.abs(filled[:, 8].astype(int) - (10, 20, 30)).max() <= 2
    assert np.abs(filled[:, 22].astype(int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("level", [0, 1, 255])
def test_where_all_or_nothing_shows_the_image_stays_what_it_is(level: int) -> None:
    alpha = np.full((48, 64), level, np.uint8)
    assert with_hidden_colours_filled(landscape(), alpha) is not None
    np.testing.assert_array_equal(with_hidden_colours_filled(landscape(), alpha), landscape())


def test_a_blurred_cut_out_is_sharpened_whatever_colour_is_hidden() -> None:
    student = Sharpener.load("small")
    picture: Any = cv2.GaussianBlur(sample("colosseum"), (0, 0), 1)
    down, across = np.mgrid[:480, :640]
    alpha = np.where((down - 240) ** 2 + (across - 320) ** 2 < 190**2, 255, 0).astype(np.uint8)
    shows = alpha > 0

    def corrected(image: Any) -> float:
        return float(np.abs(student.sharpen(image).astype(int) - image)[shows].mean())

    whole = corrected(picture)
    for hidden in (0, 255):
        image = np.where(shows[..., None], picture, np.uint8(hidden))
        assert corrected(with_hidden_colours_filled(image, alpha)) > 0.6 * whole

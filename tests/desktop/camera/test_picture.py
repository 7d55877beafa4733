"""desktop.camera.fitting, overlay and frames: what happens to a picture on its way."""

from __future__ import annotations

import numpy as np
import pytest

from desktop.camera.fitting import fitted
from desktop.camera.frames import Captured
from desktop.camera.overlay import with_caption
from tests.desktop.camera.doubles import flat
from tests.service.pictures import landscape


def test_a_captured_frame_comes_out_as_rgb() -> None:
    bgr = flat(0)
    bgr[:, :] = (10, 20, 30)
    assert Captured(bgr, 0.0).image()[0, 0].tolist() == [30, 20, 10]


def test_a_letterbox_shows_all_of_the_picture_between_equal_black_bars() -> None:
    framed = fitted(flat(200, 480, 640), (720, 1280), "letterbox")
    assert framed.shape == (720, 1280, 3)
    assert (framed[:, 160:1120] == 200).all()
    assert (framed[:, :160] == 0).all()
    assert (framed[:, 1120:] == 0).all()
    tall = fitted(flat(200, 90, 160), (240, 160), "letterbox")
    assert (tall[75:165] == 200).all()
    assert tall[:75].max() == tall[165:].max() == 0


def test_a_crop_fills_the_size_and_cuts_equally_at_both_sides() -> None:
    image = flat(0, 480, 640)
    image[60:420] = 200  # what a 16:9 picture keeps of it
    cropped = fitted(image, (720, 1280), "crop")
    assert cropped.shape == (720, 1280, 3)
    assert (cropped == 200).all()
    assert cropped.flags.c_contiguous


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize("size", [(1, 1), (3, 999), (999, 3), (721, 1279), (720, 1280)])
def test_any_size_fits(fit: str, size: tuple[int, int]) -> None:
    image = flat(50, *size)
    framed = fitted(image, (720, 1280), fit)  # type: ignore[arg-type]
    assert framed.shape == (720, 1280, 3)
    assert framed.max() == 50


def test_a_picture_that_has_the_size_is_not_touched() -> None:
    image = landscape(72, 128)
    assert fitted(image, (72, 128), "crop") is image


def test_a_caption_is_drawn_on_a_copy_at_the_upper_left() -> None:
    image = flat(90, 240, 320)
    drawn = with_caption(image, ("25.0 FPS", "small"))
    assert (image == 90).all()
    changed = (drawn != 90).any(axis=2)
    assert changed[:40, :160].any()
    assert not changed[60:].any()
    assert np.unique(drawn).tolist()[0] < 20
    assert drawn.max() > 235

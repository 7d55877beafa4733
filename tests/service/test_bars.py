"""Bars around pictures: found where they are, left as they are, and no reason to sharpen less."""

from __future__ import annotations

from dataclasses import astuple

import cv2
import numpy as np
import pytest

from service.frame_codec import ImageArray
from service.model.bars import Bars, bars_around
from service.model.live import DESCRIBE_EVERY, LiveSharpener
from service.model.sharpener import Sharpener
from tests.service.doubles import FakeSharpener
from tests.service.pictures import sample
from trainer.quality import image_psnr_db

PICTURE = np.ascontiguousarray(sample("museum")[:240, :320])
LETTERBOX = Bars(top=60, bottom=60)
AROUND = (LETTERBOX, Bars(left=75, right=80), Bars(31, 30, 29, 28), Bars(top=5))


def barred(picture: ImageArray, bars: Bars, colour: tuple[int, int, int] = (0, 0, 0)) -> ImageArray:
    edges = (bars.top, bars.bottom, bars.left, bars.right)
    made = cv2.copyMakeBorder(picture, *edges, cv2.BORDER_CONSTANT, value=colour)
    return np.asarray(made, np.uint8)


@pytest.fixture(scope="module")
def nano() -> Sharpener:
    return Sharpener.load("nano", device="cpu", precision="fp32", threads=1)


@pytest.mark.parametrize("bars", AROUND)
@pytest.mark.parametrize("colour", [(0, 0, 0), (16, 90, 200), (255, 0, 255)])
def test_bars_are_found(bars: Bars, colour: tuple[int, int, int]) -> None:
    assert bars_around(barred(PICTURE, bars, colour)) == bars


@pytest.mark.parametrize("quality", [50, 80, 95])
def test_bars_are_found_beside_what_a_codec_leaves_in_them(quality: int) -> None:
    _, encoded = cv2.imencode(".jpg", barred(PICTURE, LETTERBOX), [1, quality])
    found = bars_around(np.asarray(cv2.imdecode(encoded, 1), np.uint8))
    assert found is not None
    assert np.abs(np.subtract(astuple(found), astuple(LETTERBOX))).max() <= 8


def page() -> ImageArray:
    made = np.full((240, 320, 3), 255, np.uint8)
    cv2.putText(made, "A line of text", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1)
    return made


def night() -> ImageArray:
    made = np.random.default_rng(0).integers(0, 4, (240, 320, 3), np.uint8)
    cv2.circle(made, (160, 160), 30, (250, 240, 200), -1)
    return made


def gradient() -> ImageArray:
    return np.broadcast_to((np.arange(240, dtype=np.uint8))[:, None, None], (240, 320, 3)).copy()


def blurred_with_bars() -> ImageArray:
    """A contour as soft as the picture is no reason to sharpen less, and to be sharpened."""
    return np.asarray(cv2.GaussianBlur(barred(PICTURE, LETTERBOX), (0, 0), 1.2), np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        PICTURE,
        page(),
        night(),
        gradient(),
        blurred_with_bars(),
        np.zeros((90, 90, 3), np.uint8),
        PICTURE[:1, :1],
        PICTURE[:9, :3],
    ],
    ids=["photograph", "page", "night", "gradient", "blurred", "blank", "dot", "narrow"],
)
def test_what_is_no_bar_is_none(image: ImageArray) -> None:
    assert bars_around(image) is None


@pytest.mark.parametrize("bars", AROUND)
def test_what_is_between_them_keeps_its_place_on_the_grid_of_jpeg(bars: Bars) -> None:
    image = barred(PICTURE, bars)
    within = bars.without(image)
    top, left = bars.top % 8, bars.left % 8
    np.testing.assert_array_equal(within[top:, left:], PICTURE)
    np.testing.assert_array_equal(within[:top, left:], np.repeat(PICTURE[:1], top, axis=0))
    np.testing.assert_array_equal(bars.around(image, within), image)


@pytest.mark.parametrize("bars", AROUND)
@pytest.mark.parametrize("is_live", [False, True])
def test_a_picture_gains_between_bars_what_it_gains_alone(
    nano: Sharpener, bars: Bars, is_live: bool
) -> None:
    blurred = np.asarray(cv2.GaussianBlur(PICTURE, (0, 0), 1.5), np.uint8)
    image = barred(blurred, bars)
    if is_live:
        sharpened = LiveSharpener().sharpen(nano, image, strength=1.0).image
    else:
        sharpened = nano.sharpen(image)
    inside = sharpened[bars.inside]
    alone = image_psnr_db(nano.sharpen(blurred), PICTURE)
    assert image_psnr_db(inside, PICTURE) > alone - 0.25
    np.testing.assert_array_equal(barred(inside, bars), sharpened)


def changed_rows(live: LiveSharpener, frame: ImageArray) -> tuple[int, int]:
    """The first row that is sharpened, and the first one after it that is not."""
    fake = FakeSharpener(lanes=2)
    image = live.sharpen(fake.as_sharpener(), frame, strength=1.0, reuses_still=False).image
    rows = np.flatnonzero((image != frame).any(axis=(1, 2)))
    return int(rows[0]), int(rows[-1]) + 1


def test_a_stream_finds_other_bars_at_once_after_a_cut() -> None:
    live = LiveSharpener()
    other = np.ascontiguousarray(sample("woman-with-hat")[:240, :320])
    scenes = [
        (barred(PICTURE, LETTERBOX), (60, 300)),
        (barred(other, Bars(top=30, bottom=90)), (30, 270)),
        (np.ascontiguousarray(sample("museum")[:360, :320]), (0, 360)),
        (barred(PICTURE, LETTERBOX), (60, 300)),
    ]
    for frame, rows in scenes:
        for _ in range(3):
            assert changed_rows(live, frame) == rows


def test_bars_that_turn_out_shallower_do_not_hide_the_picture_for_good() -> None:
    live = LiveSharpener()
    dark = PICTURE.copy()
    dark[:6] = 20
    assert changed_rows(live, barred(dark, LETTERBOX)) == (66, 300)
    for _ in range(DESCRIBE_EVERY):
        rows = changed_rows(live, barred(PICTURE, LETTERBOX))
    assert rows == (60, 300)

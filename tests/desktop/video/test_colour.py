"""desktop.video.colour: YUV planes <-> RGB by their tags."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from desktop.video.colour import FULL_RANGE, Colour, is_planar_yuv, planes_of

# Y, U, V of pure red, by hand: Y = Kr, U = -Kr / 2 / (1 - Kb), V = 1/2, scaled to the range.
RED = {
    ("BT.601", 6, 1): (81, 90, 240),
    ("BT.709", 1, 1): (63, 102, 240),
    ("BT.2020", 9, 1): (74, 97, 240),
    ("BT.601 full", 5, 2): (76, 85, 255),
}


def flat(codes: tuple[int, ...], pixels: str = "yuv420p", **tags: int) -> av.VideoFrame:
    frame = av.VideoFrame(17, 9, pixels)
    for plane, code in zip(planes_of(frame), codes, strict=True):
        plane[...] = code
    for name, value in tags.items():
        setattr(frame, name, value)
    return frame


@pytest.mark.parametrize("kind", RED, ids=lambda kind: str(kind[0]))
def test_red_is_red_in_every_matrix_and_range(kind: tuple[str, int, int]) -> None:
    frame = flat(RED[kind], colorspace=kind[1], color_range=kind[2])
    image = Colour.of(frame).to_rgb(frame)
    assert image.shape == (9, 17, 3)
    np.testing.assert_allclose(image, np.broadcast_to([255, 0, 0], image.shape), atol=2)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("levels", [1, FULL_RANGE])
def test_a_correction_comes_out_as_it_went_in(pixels: str, levels: int) -> None:
    shift = 1 << (av.VideoFormat(pixels).components[0].bits - 8)
    frame = flat((110 * shift, 120 * shift, 140 * shift), pixels, color_range=levels)
    colour = Colour.of(frame)
    before = colour.to_rgb(frame).astype(int)
    correction: Any = np.empty(before.shape, np.int16)
    correction[...] = (12, -9, 20)
    colour.add(frame, correction)
    np.testing.assert_allclose(colour.to_rgb(frame) - before, correction, atol=2)


def test_no_correction_changes_no_code_and_too_much_saturates() -> None:
    frame = flat((1000, 3, 700), "yuv420p10le")
    colour = Colour.of(frame)
    colour.add(frame, np.zeros((9, 17, 3), np.int16))
    assert [int(plane[4, 4]) for plane in planes_of(frame)] == [1000, 3, 700]
    colour.add(frame, np.full((9, 17, 3), 255, np.int16))
    assert [int(plane[4, 4]) for plane in planes_of(frame)] == [1023, 3, 700]


def test_what_says_nothing_is_taken_as_players_take_it() -> None:
    small, large = av.VideoFrame(640, 360, "yuv420p"), av.VideoFrame(1280, 720, "yuv420p")
    assert Colour.of(small) == Colour(0.299, 0.114, is_full=False, bits=8)
    assert Colour.of(large) == Colour(0.2126, 0.0722, is_full=False, bits=8)
    assert Colour.of(av.VideoFrame(64, 64, "yuvj420p")).is_full


def test_black_white_and_no_colour_have_their_codes() -> None:
    studio = Colour(0.299, 0.114, is_full=False, bits=10)
    assert (studio.luma_code(0), studio.luma_code(1), studio.neutral_code) == (64, 940, 512)
    full = Colour(0.299, 0.114, is_full=True, bits=8)
    assert (full.luma_code(0), full.luma_code(1), full.neutral_code) == (0, 255, 128)


def test_only_planes_of_yuv_up_to_12_bits_are_worked_on() -> None:
    names = (
        "yuv420p",
        "yuva420p",
        "yuv422p12le",
        "nv12",
        "yuyv422",
        "rgb24",
        "yuv420p16le",
        "gray",
    )
    assert [is_planar_yuv(av.VideoFormat(name)) for name in names] == [True] * 3 + [False] * 5

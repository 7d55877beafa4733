"""service.orientation: against Pillow's own transposition, and with damaged EXIF blocks."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.frame_codec import decode_frame
from service.orientation import jpeg_orientation, turned_upright
from tests.service.pictures import as_file, difference, jpeg_frame, landscape

ORIENTATION_TAG = 0x0112


def turned_jpeg(orientation: Any, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return as_file(landscape(49, 66), "jpeg", exif=exif, quality=95, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"before"}])
def test_a_frame_comes_out_as_a_viewer_shows_it(orientation: int, options: dict[str, Any]) -> None:
    encoded = turned_jpeg(orientation, **options)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    decoded = decode_frame(encoded, max_pixels=10**6)
    assert jpeg_orientation(encoded) == orientation
    assert decoded.shape == ((66, 49, 3) if orientation >= 5 else (49, 66, 3))
    assert decoded.flags.c_contiguous
    assert difference(decoded, np.asarray(shown)) < 1.5


def test_filling_before_a_marker_hides_no_orientation() -> None:
    encoded = turned_jpeg(6)
    assert jpeg_orientation(encoded[:2] + b"\xff\xff" + encoded[2:]) == 6


def test_a_frame_without_exif_is_upright_and_is_not_copied() -> None:
    assert jpeg_orientation(jpeg_frame()) == 1
    image = landscape()
    assert turned_upright(image, 1) is image


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    assert jpeg_orientation(turned_jpeg(orientation)) == 1


@given(st.binary(max_size=60), st.integers(0, 65_535))
def test_a_damaged_exif_block_does_not_cost_the_frame(block: bytes, length: int) -> None:
    start = b"\xff\xd8\xff\xe1" + length.to_bytes(2, "big") + b"Exif\0\0"
    assert 1 <= jpeg_orientation(start + block) <= 8
    whole = b"\xff\xe1" + (len(block) + 8).to_bytes(2, "big") + b"Exif\0\0" + block
    frame = jpeg_frame()
    assert decode_frame(frame[:2] + whole + frame[2:], max_pixels=10**6).size == 48 * 64 * 3


@given(st.binary(max_size=200))
def test_arbitrary_bytes_have_an_orientation(encoded: bytes) -> None:
    assert 1 <= jpeg_orientation(b"\xff\xd8" + encoded) <= 8

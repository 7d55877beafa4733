"""service.colour_tags: colours that no profile describes are told."""

from __future__ import annotations

import io

import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from service.codec import decode_image
from tests.service.pictures import as_file, landscape

SAID = "Its colours are not sRGB's, and no profile says so: they may look different."


def warnings_of(encoded: bytes) -> tuple[str, ...]:
    return decode_image(encoded, max_pixels=10_000).warnings


def heic(primaries: int, curve: int) -> bytes:
    image = Image.fromarray(landscape())
    made = pillow_heif.from_bytes("RGB", image.size, image.tobytes())
    out = io.BytesIO()
    made.save(
        out,
        color_primaries=primaries,
        transfer_characteristics=curve,
        matrix_coefficients=6,
        full_range_flag=1,
        save_nclx_profile=True,
    )
    return out.getvalue()


@pytest.mark.parametrize(
    ("primaries", "curve", "is_told"), [(1, 13, False), (12, 13, True), (9, 16, True)]
)
def test_boxes_that_say_other_colours(primaries: int, curve: int, is_told: bool) -> None:
    assert (SAID in warnings_of(heic(primaries, curve))) is is_told


@pytest.mark.parametrize(
    ("kind", "content", "is_told"),
    [
        (b"cICP", bytes((1, 13, 0, 1)), False),
        (b"cICP", bytes((9, 16, 0, 1)), True),
        (b"gAMA", (45_455).to_bytes(4, "big"), False),
        (b"gAMA", (100_000).to_bytes(4, "big"), True),
        (
            b"cHRM",
            b"".join(
                place.to_bytes(4, "big")
                for place in (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
            ),
            True,
        ),
    ],
)
def test_chunks_that_say_other_colours(kind: bytes, content: bytes, is_told: bool) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(kind, content)
    assert (SAID in warnings_of(as_file(landscape(), "png", pnginfo=chunks))) is is_told


def test_ordinary_files_are_not_told_of() -> None:
    for image_format in ("jpeg", "png", "webp", "tiff", "bmp", "avif"):
        assert SAID not in warnings_of(as_file(landscape(), image_format))

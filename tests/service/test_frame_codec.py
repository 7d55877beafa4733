"""service.frame_codec: JPEG frames with both bindings, the limits, and damaged ones."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from service import frame_codec
from service.codec import decode_image, sniff
from service.errors import ImageBroken, ImageTooManyPixels, ImageUnsupported
from service.frame_codec import ImageArray, decode_frame, encode_frame, jpeg_size
from service.frames import FrameFormat
from tests.service.pictures import as_file, difference, jpeg_frame, landscape, with_announced_size

MANY_PX = 1_000_000
# JPEG and WebP halve the resolution of colour, which the landscape has little of.
LOSSY_LEVELS = 4.0


@pytest.fixture(params=["simplejpeg", "opencv"])
def each_binding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs with the fast binding, and as on a platform that has none."""
    if request.param == "opencv":
        monkeypatch.setattr(frame_codec, "simplejpeg", None)


def shown(encoded: bytes) -> ImageArray:
    return decode_image(encoded, max_pixels=MANY_PX).image


@pytest.mark.usefixtures("each_binding")
def test_a_frame_is_decoded_as_rgb() -> None:
    image = decode_frame(jpeg_frame(), max_pixels=MANY_PX)
    assert difference(image, landscape()) < LOSSY_LEVELS
    assert image.flags.c_contiguous


@pytest.mark.usefixtures("each_binding")
@pytest.mark.parametrize("frame_format", get_args(FrameFormat))
def test_a_frame_is_encoded_as_rgb_in_each_format(frame_format: FrameFormat) -> None:
    encoded = encode_frame(landscape(), frame_format, quality=90)
    assert sniff(encoded) == frame_format
    assert difference(shown(encoded), landscape()) < LOSSY_LEVELS


def test_an_image_that_is_a_crop_of_another_is_encoded() -> None:
    crop = landscape(64, 80)[:48, :64]
    jpeg = shown(encode_frame(crop, "jpeg", quality=90))
    assert difference(jpeg, np.array(crop)) < LOSSY_LEVELS
    assert difference(shown(encode_frame(crop, "png", quality=90)), np.array(crop)) == 0


@pytest.mark.usefixtures("each_binding")
def test_gray_and_cmyk_jpegs_are_frames() -> None:
    gray = as_file(Image.fromarray(landscape()).convert("L"), "jpeg")
    assert decode_frame(gray, max_pixels=MANY_PX).shape == (48, 64, 3)
    red = as_file(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpeg")
    assert decode_frame(red, max_pixels=MANY_PX)[8, 8].tolist() == pytest.approx(
        [255, 0, 0], abs=12
    )


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(500)}])
def test_the_size_of_a_jpeg_is_read_from_its_header(options: dict[str, Any]) -> None:
    assert jpeg_size(as_file(landscape(), "jpeg", **options)) == (48, 64)


def test_fill_bytes_and_markers_without_length_are_skipped_on_the_way_to_the_size() -> None:
    encoded = jpeg_frame()
    assert jpeg_size(encoded[:2] + b"\xff\xff\xff\x01\xff\xd0" + encoded[2:]) == (48, 64)


@pytest.mark.parametrize(
    "encoded",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\x00\x08",
        b"\xff\xd8\xff\xe0\x00\x00" * 3,
        b"\xff\xd8\xff\xe0\xff\xff",
        jpeg_frame()[:100],
    ],
)
def test_a_jpeg_without_a_frame_header_is_broken(encoded: bytes) -> None:
    with pytest.raises(ImageBroken, match="no frame header"):
        jpeg_size(encoded)


def test_a_frame_that_is_no_jpeg_is_unsupported() -> None:
    with pytest.raises(ImageUnsupported):
        decode_frame(as_file(landscape(), "png"), max_pixels=MANY_PX)


@pytest.mark.usefixtures("each_binding")
def test_too_many_pixels_in_a_frame_are_refused_from_the_header_alone() -> None:
    with pytest.raises(ImageTooManyPixels):
        decode_frame(with_announced_size("jpeg", 65_535, 65_535), max_pixels=8_300_000)
    with pytest.raises(ImageTooManyPixels):
        decode_frame(jpeg_frame(), max_pixels=48 * 64 - 1)
    assert decode_frame(jpeg_frame(), max_pixels=48 * 64).shape == (48, 64, 3)


@pytest.mark.usefixtures("each_binding")
def test_a_frame_whose_header_lies_about_its_size_is_broken_or_decoded_at_that_size() -> None:
    try:
        image = decode_frame(with_announced_size("jpeg", 640, 480), max_pixels=MANY_PX)
    except ImageBroken:
        return
    assert image.shape == (480, 640, 3)


@pytest.mark.usefixtures("each_binding")
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.99])
def test_a_frame_that_is_cut_off_is_broken(share: float) -> None:
    encoded = jpeg_frame(240, 320)
    with pytest.raises(ImageBroken):
        decode_frame(encoded[: int(len(encoded) * share)], max_pixels=MANY_PX)


@pytest.mark.usefixtures("each_binding")
def test_padding_after_a_frame_is_no_damage() -> None:
    assert decode_frame(jpeg_frame() + bytes(64), max_pixels=MANY_PX).shape == (48, 64, 3)


@pytest.mark.usefixtures("each_binding")
@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
def test_a_frame_may_be_progressive_and_its_chroma_of_any_size(options: dict[str, Any]) -> None:
    encoded = as_file(landscape(), "jpeg", quality=90, **options)
    assert difference(decode_frame(encoded, max_pixels=MANY_PX), landscape()) < LOSSY_LEVELS


def test_a_frame_with_a_piece_missing_in_the_middle_is_broken_and_says_why() -> None:
    encoded = jpeg_frame(240, 320)
    with pytest.raises(ImageBroken, match="Corrupt JPEG data"):
        decode_frame(encoded[:4000] + encoded[6000:], max_pixels=MANY_PX)


def test_a_kind_of_jpeg_that_the_fast_binding_refuses_is_decoded_by_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("tjDecompressHeader3(): Could not determine subsampling level")

    monkeypatch.setattr("service.frame_codec.simplejpeg.decode_jpeg", refuse)
    image = decode_frame(jpeg_frame(), max_pixels=MANY_PX)
    assert difference(image, landscape()) < LOSSY_LEVELS


def test_both_bindings_decode_and_encode_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = decode_frame(jpeg_frame(), max_pixels=MANY_PX)
    encoded = encode_frame(landscape(), "jpeg", quality=80)
    monkeypatch.setattr(frame_codec, "simplejpeg", None)
    assert difference(decode_frame(jpeg_frame(), max_pixels=MANY_PX), fast) <= 1
    other = encode_frame(landscape(), "jpeg", quality=80)
    assert difference(shown(other), shown(encoded)) <= 1
    assert len(other) == pytest.approx(len(encoded), rel=0.05)

"""service.heif through codec: AVIF and HEIC in and out."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from service.codec import ImageFormat, decode_image, encode_image, picture_size, sniff
from service.errors import ImageBroken, ImageTooManyPixels, ImageUnsupported
from service.heif import bits_of, box_format
from tests.service.pictures import as_file, difference, landscape
from tests.service.test_metadata import XMP, phone_exif, told_by_exiftool

BOXES: tuple[ImageFormat, ...] = ("avif", "heic")
LOSSY_LEVELS = 4.0
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def boxed(image: Any, image_format: ImageFormat, **options: Any) -> bytes:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if image_format == "avif":
        subsampling = "4:0:0" if picture.mode == "L" else "4:4:4"
        return as_file(picture, "avif", quality=95, subsampling=subsampling, **options)
    out = io.BytesIO()
    picture.info["icc_profile"] = options.pop("icc_profile", None)
    pillow_heif.from_pillow(picture).save(out, quality=95, chroma="444", **options)
    return out.getvalue()


def decode(encoded: bytes, **options: Any) -> Any:
    return decode_image(encoded, **({"max_pixels": 10**6} | options))


@pytest.mark.parametrize("image_format", BOXES)
def test_a_picture_comes_in_and_goes_out(image_format: ImageFormat) -> None:
    encoded = boxed(landscape(), image_format)
    assert sniff(encoded) == image_format
    assert picture_size(encoded) == (48, 64)
    picture = decode(encoded)
    assert (picture.format, picture.warnings) == (image_format, ())
    assert difference(picture.image, landscape()) < LOSSY_LEVELS
    again = decode(encode_image(picture, image_format, quality=95))
    assert difference(again.image, landscape()) < LOSSY_LEVELS


@pytest.mark.parametrize("image_format", BOXES)
def test_alpha_and_gray_stay(image_format: ImageFormat) -> None:
    alpha = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
    clear = decode(
        encode_image(
            decode(boxed(np.dstack((landscape(), alpha)), image_format)), image_format, quality=95
        )
    )
    assert difference(clear.alpha, alpha) < LOSSY_LEVELS
    gray = decode(boxed(Image.fromarray(landscape()).convert("L"), image_format))
    assert gray.is_gray
    assert decode(encode_image(gray, image_format, quality=95)).is_gray


@pytest.mark.parametrize("image_format", BOXES)
def test_an_independent_reader_finds_what_was_in_a_jpeg(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    jpeg = as_file(landscape(), "jpeg", exif=phone_exif(6), xmp=XMP, icc_profile=PROFILE)
    answer = encode_image(decode(jpeg), image_format, quality=90)
    told = told_by_exiftool(answer, tmp_path, f"after.{image_format}")
    assert (told["IFD0:Model"], told["XMP-xmp:Rating"]) == ("Phone 1", 4)
    assert "GPS:GPSLatitude" in told
    assert told.get("IFD0:Orientation", "Horizontal (normal)") == "Horizontal (normal)"
    back = decode(answer)
    assert back.colour_profile == PROFILE
    assert back.image.shape == (64, 48, 3)
    assert back.metadata.xmp == XMP


@pytest.mark.parametrize("image_format", BOXES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied_once(image_format: ImageFormat, orientation: int) -> None:
    if image_format == "avif":
        encoded = boxed(landscape(), image_format, exif=phone_exif(orientation))
    else:
        image = Image.fromarray(landscape())
        image.info["exif"] = phone_exif(orientation).tobytes()
        out = io.BytesIO()
        pillow_heif.register_heif_opener()
        image.save(out, "HEIF", quality=95, chroma="444", exif=image.info["exif"])
        encoded = out.getvalue()
    expected = decode(as_file(landscape(), "jpeg", quality=95, exif=phone_exif(orientation)))
    picture = decode(encoded)
    answer = decode(encode_image(picture, image_format, quality=95))
    if image_format == "avif":
        assert difference(picture.image, expected.image) < LOSSY_LEVELS
    assert difference(answer.image, picture.image) < LOSSY_LEVELS


@pytest.mark.parametrize("image_format", BOXES)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_broken(image_format: ImageFormat, share: float) -> None:
    encoded = boxed(landscape(), image_format)
    with pytest.raises(ImageBroken):
        decode(encoded[: int(len(encoded) * share)])


@pytest.mark.parametrize("image_format", BOXES)
def test_too_many_pixels_are_refused(image_format: ImageFormat) -> None:
    encoded = boxed(landscape(), image_format)
    with pytest.raises(ImageTooManyPixels):
        decode(encoded, max_pixels=48 * 64 - 1)


def test_ten_bits_become_eight_with_a_word() -> None:
    deep = np.full((16, 16, 3), 30_000, np.uint16)
    out = io.BytesIO()
    pillow_heif.from_bytes(mode="RGB;16", size=(16, 16), data=deep.tobytes()).save(out)
    assert bits_of(out.getvalue()) == 10
    assert decode(out.getvalue()).warnings == ("Its 10 bits per channel became 8.",)


def test_an_animated_avif_is_refused() -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    encoded = as_file(first, "avif", save_all=True, append_images=[second])
    with pytest.raises(ImageUnsupported, match="animation of 2 pictures"):
        decode(encoded)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = boxed(landscape(), "heic")
    picture = decode(as_file(landscape(), "png"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for call in (
        lambda: decode(encoded),
        lambda: picture_size(encoded),
        lambda: encode_image(picture, "heic", quality=90),
    ):
        with pytest.raises(ImageUnsupported, match=r"pip install 'clearcall\[heic\]'"):
            call()


def test_a_film_is_no_picture() -> None:
    assert box_format(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom") is None

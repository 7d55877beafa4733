"""service.metadata: what a picture carries comes out as it went in."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from service.codec import ImageFormat, decode_image, encode_image
from tests.service.pictures import as_file, landscape

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-synt'
    b'ax-ns#"><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmp:Rating="4" exif:GPSLatitude="48,8.2N"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
MAKER, MODEL = 271, 272


def phone_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[MAKER], exif[MODEL], exif[274] = "Nobody", "Phone 1", orientation
    exif.get_ifd(ExifTags.IFD.Exif)[0xA002] = 64
    exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = "2026:05:04 12:13:14"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[2] = (48.0, 8.0, 12.0)
    return exif


def phone_picture(image_format: ImageFormat = "jpeg", orientation: int = 1) -> bytes:
    options: dict[str, Any] = {"exif": phone_exif(orientation), "dpi": (300, 300)}
    if image_format == "png":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = texts
    else:
        options["xmp"] = XMP
    return as_file(landscape(), image_format, **options)


def through(encoded: bytes, to: ImageFormat, *, keeps_place: bool = True) -> bytes:
    picture = decode_image(encoded, max_pixels=10**6, is_place_kept=keeps_place)
    return encode_image(picture, to, quality=90)


def told_by_exiftool(encoded: bytes, folder: Path, name: str) -> dict[str, Any]:
    found = shutil.which("exiftool")
    if found is None and "CI" not in os.environ:
        pytest.skip("needs exiftool: apt-get install libimage-exiftool-perl")
    assert found, "exiftool is missing: apt-get install libimage-exiftool-perl"
    path = folder / name
    path.write_bytes(encoded)
    done = subprocess.run([found, "-json", "-G1", path], capture_output=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)[0]
    return told


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "tiff"])
def test_an_independent_reader_finds_the_same_as_before(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    source: ImageFormat = "jpeg" if image_format == "tiff" else image_format
    before = told_by_exiftool(phone_picture(source), tmp_path, f"before.{source}")
    after = told_by_exiftool(
        through(phone_picture(source), image_format), tmp_path, f"after.{image_format}"
    )
    for tag in ("IFD0:Make", "IFD0:Model", "XMP-xmp:Rating", "XMP-exif:GPSLatitude"):
        assert before[tag] == after[tag], tag
    for tag in ("ExifIFD:DateTimeOriginal", "GPS:GPSLatitudeRef", "GPS:GPSLatitude"):
        assert before[tag] == after[tag], tag


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_picture_is_upright_and_says_so(orientation: int, tmp_path: Path) -> None:
    encoded = through(phone_picture(orientation=orientation), "jpeg")
    told = told_by_exiftool(encoded, tmp_path, "turned.jpg")
    assert told.get("IFD0:Orientation", "Horizontal (normal)") == "Horizontal (normal)"
    assert told["IFD0:Model"] == "Phone 1"
    size = (48, 64) if orientation in (6, 8) else (64, 48)
    assert (told["ExifIFD:ExifImageWidth"], told["File:ImageHeight"]) == (size[0], size[1])


def test_the_place_is_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    told = told_by_exiftool(through(phone_picture(), "jpeg", keeps_place=False), tmp_path, "a.jpg")
    assert [tag for tag in told if "GPS" in tag] == []
    assert (told["IFD0:Model"], told["XMP-xmp:Rating"]) == ("Phone 1", 4)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "tiff", "bmp"])
def test_the_resolution_is_kept(image_format: ImageFormat) -> None:
    out = Image.open(io.BytesIO(through(phone_picture(), image_format)))
    assert out.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "tiff", "bmp"])
def test_gray_stays_gray(image_format: ImageFormat) -> None:
    gray = as_file(Image.fromarray(landscape()).convert("L"), image_format)
    assert Image.open(io.BytesIO(through(gray, image_format))).mode == "L"


def test_gray_with_transparency_stays_both() -> None:
    picture = Image.fromarray(landscape()).convert("LA")
    assert Image.open(io.BytesIO(through(as_file(picture, "png"), "png"))).mode == "LA"


def test_a_thumbnail_of_the_picture_before_is_not_kept() -> None:
    exif = phone_exif()
    exif.get_ifd(ExifTags.IFD.IFD1)[0x0201] = 0
    encoded = through(as_file(landscape(), "jpeg", exif=exif), "jpeg")
    assert not Image.open(io.BytesIO(encoded)).getexif().get_ifd(ExifTags.IFD.IFD1)


def test_a_gain_map_that_is_gone_is_not_announced() -> None:
    announced = XMP.replace(b'xmp:Rating="4"', b'xmp:Rating="4" hdrgm:Version="1.0"')
    encoded = as_file(landscape(), "jpeg", xmp=announced)
    assert b"hdrgm" not in through(encoded, "jpeg")
    assert b'xmp:Rating="4"' in through(encoded, "jpeg")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word for it
@pytest.mark.parametrize("junk", [b"", b"II*\0\xff\xff\xff\xff", b"MM" + bytes(40)])
def test_a_damaged_block_is_left_out(junk: bytes) -> None:
    encoded = as_file(landscape(), "jpeg", exif=b"Exif\0\0" + junk)
    assert Image.open(io.BytesIO(through(encoded, "jpeg"))).size == (64, 48)

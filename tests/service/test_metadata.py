"""service.metadata: what a picture carries comes out as it went in."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin, TiffTags

from service.captions import APP13, APP13_HEAD
from service.codec import ImageFormat, decode_image, encode_image
from service.jpeg_segments import packed
from service.picture_options import PictureOptions, decode_for
from tests.programs import program
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
    exiftool = program("exiftool", "libimage-exiftool-perl")
    path = folder / name
    path.write_bytes(encoded)
    done = subprocess.run([exiftool, "-json", "-G1", path], capture_output=True, check=True)
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


def iptc_field(number: int, text: bytes) -> bytes:
    return bytes((0x1C, 2, number)) + len(text).to_bytes(2, "big") + text


def captioned() -> bytes:
    """A JPEG as editors leave it: headline, author and city in IPTC, a thumbnail, a comment."""
    iptc = iptc_field(105, b"A headline") + iptc_field(80, b"Nobody") + iptc_field(90, b"Ulm")
    blocks = b""
    for number, content in ((0x040C, b"thumbnail"), (0x0404, iptc)):
        blocks += b"8BIM" + number.to_bytes(2, "big") + bytes(2) + len(content).to_bytes(4, "big")
        blocks += content + bytes(len(content) % 2)
    extra = packed(APP13, APP13_HEAD + blocks)
    return as_file(landscape(), "jpeg", extra=extra, comment=b"made for a test")


@pytest.mark.parametrize("to", ["jpeg", "tiff"])
def test_captions_are_kept(to: ImageFormat, tmp_path: Path) -> None:
    told = told_by_exiftool(through(captioned(), to), tmp_path, f"captions.{to}")
    assert (told["IPTC:Headline"], told["IPTC:By-line"]) == ("A headline", "Nobody")
    assert told["IPTC:City"] == "Ulm"
    assert not [tag for tag in told if "Thumbnail" in tag]
    again = through(through(captioned(), to), "jpeg")
    assert told_by_exiftool(again, tmp_path, "again.jpg")["IPTC:Headline"] == "A headline"


def test_captions_of_a_tiff_that_says_they_are_longs_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "longs.tiff"
    path.write_bytes(as_file(landscape(), "tiff"))
    exiftool = program("exiftool", "libimage-exiftool-perl")
    edits = ["-overwrite_original", "-IPTC:Headline=A headline", "-IPTC:City=Ulm"]
    subprocess.run([exiftool, "-q", *edits, path], check=True)
    encoded = path.read_bytes()
    with Image.open(io.BytesIO(encoded)) as opened:
        assert isinstance(opened, TiffImagePlugin.TiffImageFile)
        assert opened.tag_v2.tagtype[33723] == TiffTags.LONG
    for to in ("jpeg", "tiff"):
        told = told_by_exiftool(through(encoded, to), tmp_path, f"longs-after.{to}")
        assert (told["IPTC:Headline"], told["IPTC:City"]) == ("A headline", "Ulm")


def test_a_comment_is_kept(tmp_path: Path) -> None:
    told = told_by_exiftool(through(captioned(), "jpeg"), tmp_path, "comment.jpg")
    assert told["File:Comment"] == "made for a test"


def test_captions_lose_the_place_where_that_is_asked_for(tmp_path: Path) -> None:
    encoded = through(captioned(), "jpeg", keeps_place=False)
    told = told_by_exiftool(encoded, tmp_path, "placeless.jpg")
    assert "IPTC:City" not in told
    assert told["IPTC:Headline"] == "A headline"
    assert b"Ulm" not in encoded


@pytest.mark.parametrize("cut", range(4, 64, 7))
def test_damaged_captions_do_not_cost_the_picture(cut: int) -> None:
    encoded = bytearray(captioned())
    at = encoded.index(b"8BIM")
    encoded[at + cut : at + cut + 3] = b"\xff\xff\xff"
    assert Image.open(io.BytesIO(through(bytes(encoded), "jpeg", keeps_place=False)))


def warnings_of(encoded: bytes, to: ImageFormat) -> tuple[str, ...]:
    return decode_for(encoded, PictureOptions(format=to), max_pixels=10**6).warnings


def test_what_a_format_has_no_room_for_is_said() -> None:
    assert warnings_of(captioned(), "jpeg") == ()
    assert warnings_of(captioned(), "png") == (
        "png has no room for its IPTC captions, comment; not kept.",
    )
    assert warnings_of(phone_picture(), "bmp") == ("bmp has no room for its EXIF, XMP; not kept.",)
    long_xmp = XMP.replace(b'xmp:Rating="4"', b'xmp:Label="%s"' % (b"x" * 70_000))
    png = as_file(landscape(), "webp", xmp=long_xmp)
    assert warnings_of(png, "jpeg") == ("jpeg has no room for its XMP; not kept.",)
    assert warnings_of(png, "webp") == ()


def rgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gray_profile() -> bytes:
    """A gray one of gamma 1.0, with the three tags that a display profile of gray needs."""
    white = b"XYZ " + bytes(4) + bytes.fromhex("0000f6d6000100000000d32d")
    curve = b"curv" + bytes(4) + bytes(4)  # no entries: the identity
    text = b"desc" + bytes(4) + (2).to_bytes(4, "big") + b"g\0" + bytes(78)
    text += bytes(-len(text) % 4)
    tags, at, body = b"", 128 + 4 + 3 * 12, b""
    for name, content in ((b"desc", text), (b"wtpt", white), (b"kTRC", curve)):
        tags += name + (at + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content
    size = at + len(body)
    head = size.to_bytes(4, "big") + bytes(4) + bytes.fromhex("02100000") + b"mntrGRAYXYZ "
    head += bytes(12) + b"acsp" + bytes(28) + bytes.fromhex("0000f6d6000100000000d32d")
    return head.ljust(128, b"\0") + (3).to_bytes(4, "big") + tags + body


@pytest.mark.parametrize("to", ["jpeg", "png", "tiff"])
def test_gray_keeps_its_profile(to: ImageFormat) -> None:
    gray = Image.fromarray(landscape()).convert("L")
    answer = Image.open(io.BytesIO(through(as_file(gray, "png", icc_profile=gray_profile()), to)))
    assert answer.mode == "L"
    assert answer.info["icc_profile"] == gray_profile()
    assert np.abs(np.asarray(answer, int) - np.asarray(gray, int)).mean() < 2


@pytest.mark.parametrize("to", ["webp", "bmp"])
def test_gray_of_a_profile_is_converted_where_there_is_no_room_for_it(to: ImageFormat) -> None:
    gray = Image.new("L", (16, 16), 55)  # of linear light: 128 in sRGB
    answer = Image.open(io.BytesIO(through(as_file(gray, "png", icc_profile=gray_profile()), to)))
    assert np.asarray(answer.convert("L"))[8, 8] == pytest.approx(128, abs=3)
    assert "icc_profile" not in answer.info


def test_a_wide_gamut_is_converted_for_bmp_with_a_word() -> None:
    encoded = as_file(landscape(), "png", icc_profile=rgb_profile())
    assert warnings_of(encoded, "bmp") == (
        "bmp has no room for its colour profile; converted to sRGB.",
    )
    assert warnings_of(encoded, "jpeg") == ()

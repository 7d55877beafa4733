"""service.gain_map: a phone's HDR picture stays one."""

from __future__ import annotations

import io
import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.codec import Picture
from service.gain_map import GainMap, read_multi_picture, with_gain_map
from service.jpeg_segments import packed
from service.picture_options import PictureOptions, decode_for, encode_for
from tests.service.pictures import as_file, difference, landscape
from tests.service.test_metadata import phone_exif, told_by_exiftool

ISO = b"urn:iso:std:iso:ts:21496:-1\0"
NAMES = (
    b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" '
)


def xmp(attributes: bytes, body: bytes = b"") -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        b'syntax-ns#"><rdf:Description rdf:about="" '
        + NAMES
        + attributes
        + b">"
        + body
        + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def gain_jpeg() -> bytes:
    """A quarter of the landscape's size; no two of its orientations agree."""
    gray = Image.fromarray(landscape(24, 32)).convert("L")
    about = xmp(b'hdrgm:Version="1.0" hdrgm:GainMapMax="2.5"')
    return as_file(gray, "jpeg", quality=95, xmp=about, extra=packed(0xE2, ISO + b"values"))


def hdr_photo(orientation: int = 1) -> bytes:
    """As a phone writes it: Ultra HDR and ISO 21496-1."""
    gain = gain_jpeg()
    items = (
        b'<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item '
        b'Item:Semantic="Primary"/></rdf:li><rdf:li rdf:parseType="Resource">'
        b'<Container:Item Item:Semantic="GainMap" Item:Length="%d"/></rdf:li>'
        b"</rdf:Seq></Container:Directory>" % len(gain)
    )
    first = as_file(
        landscape(),
        "jpeg",
        quality=95,
        exif=phone_exif(orientation),
        xmp=xmp(b'hdrgm:Version="1.0"', items),
    )
    return with_gain_map(first, GainMap(gain, 0, packed(0xE2, ISO + b"\0\0\0\0")))


def through(encoded: bytes, **options: object) -> tuple[Picture, bytes]:
    asked = PictureOptions(**options)  # type: ignore[arg-type]
    picture = decode_for(encoded, asked, max_pixels=10**6)
    return picture, encode_for(picture, picture.image, asked)


def second_picture(encoded: bytes, folder: Path) -> bytes:
    """As exiftool finds it by the index."""
    told_by_exiftool(encoded, folder, "hdr.jpg")
    command = ["exiftool", "-b", "-MPImage2", str(folder / "hdr.jpg")]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_the_map_comes_out_bit_for_bit_where_the_index_says(tmp_path: Path) -> None:
    picture, answer = through(hdr_photo())
    assert picture.warnings == ()
    assert second_picture(answer, tmp_path) == gain_jpeg()
    told = told_by_exiftool(answer, tmp_path, "after.jpg")
    assert told["XMP-hdrgm:Version"] == 1.0
    assert told["MPF0:NumberOfImages"] == 2
    assert told["IFD0:Model"] == "Phone 1"
    assert "Warning" not in " ".join(told)
    assert packed(0xE2, ISO + b"\0\0\0\0") in answer
    assert Image.open(io.BytesIO(answer)).size == (64, 48)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_picture_gets_its_map_turned_and_measured(
    orientation: int, tmp_path: Path
) -> None:
    _, answer = through(hdr_photo(orientation))
    second = second_picture(answer, tmp_path)
    plain = as_file(landscape(24, 32), "jpeg", quality=95, exif=phone_exif(orientation))
    expected = decode_for(plain, PictureOptions(), max_pixels=10**6).image
    gray = np.asarray(Image.open(io.BytesIO(second)).convert("RGB"))
    assert difference(gray, np.asarray(Image.fromarray(expected).convert("L").convert("RGB"))) < 4
    assert b'hdrgm:GainMapMax="2.5"' in second
    assert packed(0xE2, ISO + b"values") in second
    length = re.search(rb'Item:Semantic="GainMap"[^>]*Item:Length="(\d+)"', answer)
    assert length is not None
    assert int(length[1]) == len(second)


def test_another_format_leaves_the_map_out_with_a_word() -> None:
    picture, answer = through(hdr_photo(), format="png")
    assert picture.warnings == ("Its HDR gain map was not kept.",)
    assert b"hdrgm:Version" not in answer
    assert b"GainMap" not in answer


def test_without_its_place_no_exif_is_left_in_the_map() -> None:
    gain = gain_jpeg()
    with_exif = gain[:2] + packed(0xE1, b"Exif\0\0" + phone_exif().tobytes()) + gain[2:]
    first = as_file(landscape(), "jpeg", exif=phone_exif())
    encoded = with_gain_map(first, GainMap(with_exif, 0, b""))
    _, answer = through(encoded, keep_location=False)
    found = read_multi_picture(answer).gain_map
    assert found is not None
    assert found.encoded == gain


def test_other_pictures_behind_it_are_left_out_with_a_word() -> None:
    encoded = as_file(landscape(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    picture, answer = through(encoded)
    assert picture.warnings == ("Only the first of its pictures was taken; 1 more not kept.",)
    assert b"MPF\0" not in answer


@pytest.mark.parametrize("at", range(4, 82, 3))
def test_a_damaged_index_does_not_cost_the_picture(at: int) -> None:
    encoded = bytearray(hdr_photo())
    start = encoded.index(b"MPF\0") + at
    encoded[start : start + 4] = b"\xff\xff\xff\xff"
    _, answer = through(bytes(encoded))
    assert Image.open(io.BytesIO(answer)).size == (64, 48)


def test_a_map_that_is_cut_off_is_left_out() -> None:
    encoded = hdr_photo()[:-20]
    _, answer = through(encoded)
    assert read_multi_picture(answer).gain_map is None
    assert b"hdrgm:Version" not in answer


def test_a_huge_map_is_not_decoded() -> None:
    gain = bytearray(gain_jpeg())
    at = gain.index(b"\xff\xc0")
    gain[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    assert GainMap(bytes(gain), 0, b"").turned(6, max_pixels=10**6) is None


def test_a_motion_photo_loses_its_video_with_a_word() -> None:
    names = b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"'
    encoded = as_file(landscape(), "jpeg", xmp=xmp(names)) + b"\0\0\0\x18ftypmp42"
    picture, answer = through(encoded)
    assert picture.warnings == ("Its motion photo's video was not kept.",)
    assert b'MotionPhoto="1"' not in answer
    assert b"ftypmp42" not in answer

"""service.extended_xmp: a packet of more than a segment."""

from __future__ import annotations

import hashlib
from pathlib import Path

from service.codec import ImageFormat, decode_image, encode_image
from service.extended_xmp import XMP_HEAD, extension_of, extension_segments, naming
from service.jpeg_segments import packed
from service.picture_options import PictureOptions, decode_for
from tests.service.pictures import as_file, landscape
from tests.service.test_metadata import told_by_exiftool

DEPTH = "depth " * 20_000
EXTENSION = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syn'
    'tax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,8.2N" '
    f'dc:source="{DEPTH}"/></rdf:RDF></x:xmpmeta>'
).encode()
NAME = hashlib.md5(EXTENSION).hexdigest().upper().encode()
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-synt'
    b'ax-ns#"><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmp:Rating="4" '
    b'xmpNote:HasExtendedXMP="' + NAME + b'"/></rdf:RDF></x:xmpmeta>'
)


def phone_picture(*, extension: bytes = EXTENSION) -> bytes:
    jpeg = as_file(landscape(), "jpeg")
    return jpeg[:2] + packed(0xE1, XMP_HEAD + PACKET) + extension_segments(extension) + jpeg[2:]


def test_an_independent_reader_finds_all_of_it(tmp_path: Path) -> None:
    assert phone_picture().count(b"http://ns.adobe.com/xmp/extension/") == 2
    before = told_by_exiftool(phone_picture(), tmp_path, "before.jpg")
    picture = decode_image(phone_picture(), max_pixels=10**6)
    after = told_by_exiftool(encode_image(picture, "jpeg", quality=90), tmp_path, "after.jpg")
    assert after["XMP-dc:Source"] == before["XMP-dc:Source"]
    assert (after["XMP-xmp:Rating"], "XMP-exif:GPSLatitude" in after) == (4, True)


def test_without_the_place_the_rest_is_found_under_its_new_name(tmp_path: Path) -> None:
    picture = decode_image(phone_picture(), max_pixels=10**6, is_place_kept=False)
    after = told_by_exiftool(encode_image(picture, "jpeg", quality=90), tmp_path, "after.jpg")
    assert after["XMP-dc:Source"].startswith("depth depth")
    assert "XMP-exif:GPSLatitude" not in after


def test_a_part_of_it_or_another_is_not_taken() -> None:
    whole = phone_picture()
    cut = whole[: whole.rindex(packed(0xE1, b"")[:2] + b"", 0, whole.rindex(b"/xmp/extension/"))]
    assert extension_of(cut, PACKET) is None
    assert extension_of(phone_picture(extension=b"another"), PACKET) is None
    assert extension_of(whole, naming(PACKET, None)) is None
    assert extension_of(whole, PACKET) == EXTENSION


def test_other_formats_have_no_room_and_that_is_said() -> None:
    to: ImageFormat = "png"
    picture = decode_for(phone_picture(), PictureOptions(format=to), max_pixels=10**6)
    assert picture.warnings == ("png has no room for its extended XMP; not kept.",)
    assert b"HasExtendedXMP" not in encode_image(picture, to, quality=90)

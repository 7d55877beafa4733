"""service.xmp: what is taken out of a packet, and how long hostile ones take."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from service.extended_xmp import naming
from service.gain_map import GainMap
from service.xmp import is_of_motion_photo, without_gain_map, without_motion_photo, without_place

_LIMIT_S = 2.0  # a quarter of a megabyte takes milliseconds, or minutes where time grows squared
_BYTES = 250_000


def repeated(part: bytes) -> bytes:
    return part * (_BYTES // len(part))


@pytest.mark.parametrize(
    "place",
    [
        b' exif:GPSLatitude="48,8.2N"',
        b" photoshop:City = 'Ulm'",
        b' drone-dji:GpsLatitude="+48.1"',
        b"<Iptc4xmpCore:CountryCode>DE</Iptc4xmpCore:CountryCode>",
        b"<exif:GPSLatitude>48,8.2N</exif:GPSLatitude>",
        b'<Iptc4xmpExt:LocationShown rdf:parseType="x"><a>b</a></Iptc4xmpExt:LocationShown >',
        b'<Iptc4xmpExt:LocationShown rdf:resource="x"/>',
        b"<photoshop:State>a</photoshop:State><photoshop:Country>b</photoshop:Country>",
    ],
)
def test_a_place_is_taken_out_in_every_form(place: bytes) -> None:
    assert without_place(b"<a" + place + b"/><b/>") == b"<a/><b/>"


def test_an_element_goes_up_to_its_own_end() -> None:
    packet = b"<exif:GPSa>1<exif:GPSb>2</exif:GPSb>3</exif:GPSa>4<exif:GPSc>5"

    assert without_place(packet) == b"4<exif:GPSc>5"


@pytest.mark.parametrize(
    ("kind", "without"), [(b"GainMap", without_gain_map), (b"MotionPhoto", without_motion_photo)]
)
def test_only_the_item_of_that_kind_leaves_the_directory(
    kind: bytes, without: Callable[[bytes], bytes]
) -> None:
    def item(of: bytes) -> bytes:
        return b'<rdf:li a="b">\n<Container:Item Item:Semantic="%s" c="d"/>\n</rdf:li>' % of

    packet = item(b"Primary") + item(kind) + item(b"Depth")

    assert without(packet) == item(b"Primary") + item(b"Depth")


@pytest.mark.parametrize(("said", "is_one"), [(b'"1"', True), (b"'1'", True), (b'"0"', False)])
def test_a_motion_photo_announces_itself(said: bytes, is_one: bool) -> None:
    packet = b"<a GCamera:MotionPhoto=" + said + b' GCamera:MotionPhotoVersion="1"/>'

    assert is_of_motion_photo(packet) is is_one
    assert without_motion_photo(packet) == b"<a/>"


@pytest.mark.parametrize(
    "part",
    [
        b"<rdf:li ",
        b"<rdf:li> <Container:Item ",
        b'"MotionPhoto" ',
        b"<exif:GPSa>",
        b" a",
        b"a-",
        b"<a",
        b"</exif:GPSa ",
        b' exif:GPSa="',
        b" a:MotionPhoto=",
        b" xmpNote:HasExtendedXMP",
        b"<Container:Item ",
        b"a",
        b" ",
    ],
)
def test_hostile_packets_take_no_time(part: bytes) -> None:
    packet = b'<rdf:li><Container:Item "GainMap" ' + repeated(part)
    started_s = time.perf_counter()

    without_place(packet)
    without_gain_map(packet)
    without_motion_photo(packet)
    is_of_motion_photo(packet)
    naming(packet, None)
    GainMap(b"", 0, b"").announced(packet)

    assert time.perf_counter() - started_s < _LIMIT_S

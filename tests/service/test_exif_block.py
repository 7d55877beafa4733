"""service.exif_block: what stays does not move, what goes is gone."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from service.codec import decode_image, encode_image
from service.exif_block import EXIF_HEAD, GPS, directory_of, kept, resized
from tests.service.pictures import as_file, landscape

ORIENTATION, MAKER, MAKER_NOTE = 0x0112, 0x010F, 0x927C
THUMBNAIL = b"\xff\xd8 the picture before \xff\xd9"
NOTE = b"a maker's note that must not move"
SIGNS = {"<": b"II*\0", ">": b"MM\0*"}


def block(order: str, *, has_thumbnail: bool = True) -> bytes:
    """Orientation, maker, details with a note and sizes, a place, and a thumbnail behind all."""

    def directory(*entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
        packed = (
            struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0")
            for tag, kind, count, value in entries
        )
        count = struct.pack(f"{order}H", len(entries))
        return count + b"".join(packed) + struct.pack(f"{order}I", following)

    def short(number: int) -> bytes:
        return struct.pack(f"{order}H", number)

    def long(number: int) -> bytes:
        return struct.pack(f"{order}I", number)

    first_bytes, details_bytes, gps_bytes, second_bytes = 54, 42, 18, 30
    details_at = 8 + first_bytes
    gps_at = details_at + details_bytes
    second_at = gps_at + gps_bytes
    maker_at = second_at + second_bytes
    note_at = maker_at + 8
    place_at = note_at + len(NOTE)
    thumbnail_at = place_at + 24
    return EXIF_HEAD + b"".join(
        (
            SIGNS[order] + long(8),
            directory(
                (MAKER, 2, 7, long(maker_at)),
                (ORIENTATION, 3, 1, short(6)),
                (0x8769, 4, 1, long(details_at)),
                (GPS, 4, 1, long(gps_at)),
                following=second_at if has_thumbnail else 0,
            ),
            directory(
                (MAKER_NOTE, 7, len(NOTE), long(note_at)),
                (0xA002, 3, 1, short(4000)),
                (0xA003, 4, 1, long(3000)),
            ),
            directory((2, 5, 3, long(place_at))),
            directory((0x0201, 4, 1, long(thumbnail_at)), (0x0202, 4, 1, long(len(THUMBNAIL)))),
            b"Nobody\0\0",
            NOTE,
            struct.pack(f"{order}6I", 48, 1, 8, 1, 12, 1),
            THUMBNAIL,
        )
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_makers_note_stays_at_its_place_and_the_thumbnail_goes(order: str) -> None:
    before = block(order)
    after = kept(before, {ORIENTATION})
    assert after is not None
    assert after.index(NOTE) == before.index(NOTE)
    assert THUMBNAIL[4:-4] not in after
    assert len(after) == len(before) - len(THUMBNAIL)
    read = Image.Exif()
    read.load(after)
    assert (read.get(MAKER), ORIENTATION in read, read.get_ifd(ExifTags.IFD.IFD1)) == (
        "Nobody",
        False,
        {},
    )
    assert read.get_ifd(ExifTags.IFD.GPSInfo)[2] == (48, 8, 12)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_place_is_wiped_out(order: str) -> None:
    place = struct.pack(f"{order}6I", 48, 1, 8, 1, 12, 1)
    before = block(order)
    assert place in before
    after = kept(before, {GPS})
    assert after is not None
    assert place not in after
    assert after.index(NOTE) == before.index(NOTE)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sizes_become_those_of_the_picture(order: str) -> None:
    read = Image.Exif()
    read.load(resized(block(order), (70_000, 48)))
    details = read.get_ifd(ExifTags.IFD.Exif)
    assert (details[0xA003], details[0xA002], details[MAKER_NOTE]) == (70_000, 48, NOTE)


def test_what_nothing_leads_to_is_cut_off_unless_a_makers_note_may() -> None:
    junk = b"left over"
    exif = Image.Exif()
    exif[MAKER] = "Nobody"
    plain = kept(exif.tobytes() + junk, ())
    assert plain is not None
    assert junk not in plain
    noted = kept(block("<", has_thumbnail=False) + junk, ())
    assert noted is not None
    assert noted.endswith(junk)


def test_of_a_block_without_anything_else_nothing_is_left() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    assert kept(exif.tobytes(), {ORIENTATION}) is None


def test_an_upright_picture_carries_the_note_where_it_was() -> None:
    encoded = as_file(landscape(), "jpeg", exif=block(">"))
    out = encode_image(decode_image(encoded, max_pixels=10**6), "jpeg", quality=90)
    exif = Image.open(io.BytesIO(out)).info["exif"]
    assert exif.index(NOTE) == block(">").index(NOTE)
    assert Image.open(io.BytesIO(out)).size == (48, 64)


@given(st.lists(st.tuples(st.integers(0, len(block("<")) - 1), st.integers(0, 255)), max_size=6))
def test_a_damaged_block_costs_no_picture(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(block("<"))
    for at, value in changes:
        damaged[at] = value
    encoded = as_file(landscape(), "png", exif=bytes(damaged))
    for is_place_kept in (True, False):
        picture = decode_image(encoded, max_pixels=10**6, is_place_kept=is_place_kept)
        for to in ("jpeg", "tiff"):
            encode_image(picture, to, quality=90)


def test_a_directory_that_leads_out_of_the_block_is_damaged() -> None:
    with pytest.raises(ValueError, match="leads out"):
        directory_of(block("<").removeprefix(EXIF_HEAD)[:150])


def test_directories_that_lead_to_one_another_many_times_are_damaged() -> None:
    def directory(tag: int, value: int) -> bytes:
        entry = struct.pack("<HHII", tag, 4, 1, value)
        return struct.pack("<H", 400) + 400 * entry + bytes(4)

    room = len(directory(0, 0))
    exif = b"".join(
        (
            SIGNS["<"] + struct.pack("<I", 8),
            directory(0x8769, 8 + room),
            directory(0xA005, 8 + 2 * room),
            directory(1, 0),
        )
    )

    with pytest.raises(ValueError, match="several directories"):
        kept(EXIF_HEAD + exif, ())
    picture = decode_image(as_file(landscape(), "jpeg", exif=EXIF_HEAD + exif), max_pixels=10**6)
    assert picture.image.shape == landscape().shape


def test_values_that_lie_in_one_another_are_wiped_out_whole() -> None:
    first = struct.pack("<HHII", 2, 7, 30, 8 + 2 + 3 * 12 + 4)
    inside = struct.pack("<HHII", 3, 7, 20, 8 + 2 + 3 * 12 + 4 + 5)
    beyond = struct.pack("<HHII", 4, 7, 30, 8 + 2 + 3 * 12 + 4 + 10)
    gps_at = 8 + 2 + 3 * 12 + 4 + 40
    top = struct.pack("<H", 3) + b"".join(
        (
            struct.pack("<HHII", MAKER, 2, 8, gps_at + 2 + 3 * 12 + 4),
            struct.pack("<HHII", GPS, 4, 1, gps_at),
            struct.pack("<HHI4s", ORIENTATION, 3, 1, b"\1\0\0\0"),
        )
    )
    gps = struct.pack("<H", 3) + first + inside + beyond + bytes(4)
    exif = SIGNS["<"] + struct.pack("<I", 8) + top + bytes(4) + 40 * b"x" + gps + b"Nobody\0\0"

    without = kept(EXIF_HEAD + exif, {GPS})

    assert without is not None
    assert b"Nobody" in without
    assert b"xx" not in without

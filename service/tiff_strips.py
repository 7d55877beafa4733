"""The pixels of a TIFF that Pillow wrote uncompressed, deflated; pure.

libtiff, which compresses, cannot write the metadata's blocks that Pillow itself writes. EXIF is
no part of what Pillow wrote: the new file is its block, a TIFF already, with a new directory and
the pixels behind it, so that what makers' notes lead to stays where it was.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from service.exif_block import EXIF_HEAD, directory_of

__all__ = ["deflated", "on_exif"]

_BITS, _COMPRESSION, _STRIP_OFFSETS, _STRIP_BYTES = 258, 259, 273, 279
_NONE, _DEFLATE = 1, 8
_SHORT, _LONG = 3, 4
_LEVEL = 6
_WIDTHS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4}  # of the numbers in a tag's type, in bytes


def deflated(tiff: bytes) -> bytes:
    """The same with its one strip, the last of the file, deflated; as it is where it is not so."""
    if not tiff.startswith(b"II*\0"):
        return tiff
    directory = struct.unpack_from("<I", tiff, 4)[0]
    values: dict[int, int] = {}
    places: dict[int, int] = {}
    for entry in range(struct.unpack_from("<H", tiff, directory)[0]):
        at = directory + 2 + 12 * entry
        tag, kind, count = struct.unpack_from("<HHI", tiff, at)
        if tag in (_BITS, _COMPRESSION, _STRIP_OFFSETS, _STRIP_BYTES) and count == 1:
            values[tag] = struct.unpack_from("<H" if kind == _SHORT else "<I", tiff, at + 8)[0]
            places[tag] = at
    start, size = values.get(_STRIP_OFFSETS, 0), values.get(_STRIP_BYTES, 0)
    if values.get(_COMPRESSION) != _NONE or start < directory or start + size != len(tiff):
        return tiff
    pixels = zlib.compress(memoryview(tiff)[start:], _LEVEL)
    head = bytearray(tiff[:start])
    struct.pack_into("<HII", head, places[_COMPRESSION] + 2, _SHORT, 1, _DEFLATE)
    struct.pack_into("<HII", head, places[_STRIP_BYTES] + 2, _LONG, 1, len(pixels))
    return bytes(head) + pixels


def on_exif(tiff: bytes, exif: bytes) -> bytes:
    """The pixels and tags of a TIFF of one strip, deflated, on an EXIF block."""
    block = bytearray(exif.removeprefix(EXIF_HEAD))
    theirs, own = directory_of(block), directory_of(tiff)
    order = theirs.order
    fields = {each.tag: bytes(block[each.at : each.at + 12]) for each in theirs.entries}
    numbers: dict[int, tuple[int, ...]] = {}
    for entry in own.entries:
        value = tiff[entry.value_at : entry.value_at + entry.value_bytes]
        width = _WIDTHS.get(entry.kind, 1)
        if width > 1:
            code = f"{len(value) // width}{' HI'[width // 2]}"
            numbers[entry.tag] = struct.unpack(f"<{code}", value)
            value = struct.pack(f"{order}{code}", *numbers[entry.tag])
        if len(value) > 4:
            place = len(block)
            block += value + bytes(len(value) % 2)
            value = struct.pack(f"{order}I", place)
        fields[entry.tag] = struct.pack(
            f"{order}HHI4s", entry.tag, entry.kind, entry.count, value.ljust(4, b"\0")
        )
    start, size = numbers[_STRIP_OFFSETS][0], numbers[_STRIP_BYTES][0]
    samples = memoryview(tiff)[start : start + size]
    if order == ">" and max(numbers.get(_BITS, (8,))) == 16:
        samples = memoryview(np.frombuffer(samples, "<u2").astype(">u2").view(np.uint8).data)
    pixels = zlib.compress(samples, _LEVEL)
    block += bytes(len(block) % 2)
    directory_at = len(block)
    for tag, kind, number in (
        (_COMPRESSION, _SHORT, _DEFLATE),
        (_STRIP_OFFSETS, _LONG, directory_at + 2 + 12 * len(fields) + 4),
        (_STRIP_BYTES, _LONG, len(pixels)),
    ):
        value = struct.pack(f"{order}{'H' if kind == _SHORT else 'I'}", number).ljust(4, b"\0")
        fields[tag] = struct.pack(f"{order}HHI4s", tag, kind, 1, value)
    struct.pack_into(f"{order}I", block, 4, directory_at)
    count = struct.pack(f"{order}H", len(fields))
    return b"".join((block, count, *(fields[tag] for tag in sorted(fields)), bytes(4), pixels))

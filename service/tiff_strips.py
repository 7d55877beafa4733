"""The pixels of a TIFF that Pillow wrote uncompressed, deflated; pure.

libtiff, which compresses, cannot write the metadata's blocks that Pillow itself writes.
"""

from __future__ import annotations

import struct
import zlib

__all__ = ["deflated"]

_COMPRESSION, _STRIP_OFFSETS, _STRIP_BYTES = 259, 273, 279
_NONE, _DEFLATE = 1, 8
_SHORT, _LONG = 3, 4
_LEVEL = 6


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
        if tag in (_COMPRESSION, _STRIP_OFFSETS, _STRIP_BYTES) and count == 1:
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

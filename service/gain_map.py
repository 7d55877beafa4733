"""HDR gain maps: a second picture in a phone's JPEG, which says how much brighter each part can be.

It lies behind the first one, found by the offsets of an index (CIPA's Multi-Picture Format, an APP2
segment), and says about itself what it is, in XMP (Ultra HDR, Apple) or an ISO 21496-1 segment. It
is kept as it is and goes behind the new picture with a new index; only a picture that is turned
upright needs its map turned too, and so encoded again.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, JpegImagePlugin

from service.jpeg_segments import head_segments, packed
from service.orientation import turned_upright

__all__ = ["GainMap", "MultiPicture", "read_multi_picture", "with_gain_map"]

_APP1, _APP2, _APP15 = 0xE1, 0xE2, 0xEF
_INDEX_HEAD, _EXIF_HEAD = b"MPF\0", b"Exif\0\0"
_ISO_HEAD = b"urn:iso:std:iso:ts:21496:-1"
_SIGNS = (b"hdrgm:", _ISO_HEAD, b"hdrgainmap")
_VERSION, _COUNT, _ENTRIES = 0xB000, 0xB001, 0xB002
_ENTRY_BYTES = 16
_MOST_IMAGES = 32
_JPEG = 0xF8FF_FFFF  # its attribute without the bits that are 0 for a JPEG
_PRIMARY = 0x030000  # its attribute: a baseline primary picture
_ITEM = re.compile(rb"<Container:Item\b[^<>]*>")
_ITEM_LENGTH = re.compile(rb"""(Item:Length\s*=\s*["'])\d+""")


@dataclass(frozen=True, slots=True)
class GainMap:
    """`encoded` is a JPEG, `attribute` its word of the index, `signs` segments before it."""

    encoded: bytes
    attribute: int
    signs: bytes

    def turned(self, orientation: int, *, max_pixels: int) -> GainMap | None:
        """As it belongs to a picture that was turned upright; None where it cannot be decoded."""
        if not 2 <= orientation <= 8:
            return self
        try:
            opened = JpegImagePlugin.JpegImageFile(io.BytesIO(self.encoded))
            if opened.width * opened.height > max_pixels:
                return None
            out = io.BytesIO()
            turned = Image.fromarray(turned_upright(np.asarray(opened), orientation))
            turned.save(out, "jpeg", quality=95, subsampling=0)
        except Exception:  # a damaged map must not cost the picture before it
            return None
        jpeg = out.getvalue()
        return replace(self, encoded=jpeg[:2] + _described(self.encoded) + jpeg[2:])

    def without_exif(self) -> GainMap:
        """Without what may say where it was taken."""
        kept, at = [], 0
        for marker, start, payload in head_segments(self.encoded):
            if marker == _APP1 and payload.startswith(_EXIF_HEAD):
                kept.append(self.encoded[at:start])
                at = start + 4 + len(payload)
        return replace(self, encoded=b"".join((*kept, self.encoded[at:])))

    def announced(self, xmp: bytes) -> bytes:
        """The first picture's XMP with the length of this map, which its directory gives."""

        def measured(item: re.Match[bytes]) -> bytes:
            if b"GainMap" not in item[0]:
                return item[0]
            return _ITEM_LENGTH.sub(rb"\g<1>%d" % len(self.encoded), item[0])

        return _ITEM.sub(measured, xmp)


@dataclass(frozen=True, slots=True)
class MultiPicture:
    """The gain map behind a JPEG's picture, if any, and how many other pictures are there."""

    gain_map: GainMap | None = None
    others: int = 0


def read_multi_picture(encoded: bytes) -> MultiPicture:
    """What lies behind a JPEG's picture; nothing where its index is damaged."""
    signs, found = b"", MultiPicture()
    for marker, at, payload in head_segments(encoded):
        if marker != _APP2:
            continue
        if payload.startswith(_ISO_HEAD):
            signs += packed(_APP2, payload)
        elif payload.startswith(_INDEX_HEAD) and found == MultiPicture():
            try:
                found = _indexed(encoded, at + 8, payload[4:])
            except (struct.error, ValueError):
                continue
    if found.gain_map is not None:
        found = replace(found, gain_map=replace(found.gain_map, signs=signs))
    return found


def with_gain_map(jpeg: bytes, gain_map: GainMap) -> bytes:
    """The map behind a JPEG, and the index that leads to it."""
    at = 2
    for _, start, payload in head_segments(jpeg):
        at = start + 4 + len(payload)
    base = at + len(gain_map.signs) + 8  # of the index's offsets: after its marker, size and name
    index = packed(_APP2, _INDEX_HEAD + _index((0, 0), (0, 0)))
    first_bytes = len(jpeg) + len(gain_map.signs) + len(index)
    entries = (first_bytes, 0), (len(gain_map.encoded), first_bytes - base)
    index = packed(_APP2, _INDEX_HEAD + _index(*entries, attribute=gain_map.attribute))
    return b"".join((jpeg[:at], gain_map.signs, index, jpeg[at:], gain_map.encoded))


def _indexed(encoded: bytes, base: int, index: bytes) -> MultiPicture:
    order = {b"II": "<", b"MM": ">"}.get(index[:2])
    if order is None:
        raise ValueError("no byte order")
    directory = struct.unpack_from(f"{order}I", index, 4)[0]
    maps, others = [], 0
    for entry in range(struct.unpack_from(f"{order}H", index, directory)[0]):
        tag, _, size, place = struct.unpack_from(f"{order}HHII", index, directory + 2 + 12 * entry)
        if tag != _ENTRIES:
            continue
        count = size // _ENTRY_BYTES
        if count > _MOST_IMAGES:
            raise ValueError("too many pictures")
        for number in range(1, count):
            attribute, length, offset = struct.unpack_from(
                f"{order}III", index, place + _ENTRY_BYTES * number
            )
            image = encoded[base + offset : base + offset + length]
            if len(image) == length and image.startswith(b"\xff\xd8\xff") and _is_gain_map(image):
                maps.append(GainMap(image, attribute & _JPEG, b""))
            else:
                others += 1
    return MultiPicture(maps[0] if maps else None, others + len(maps[1:]))


def _is_gain_map(jpeg: bytes) -> bool:
    return any(sign in payload for _, _, payload in head_segments(jpeg) for sign in _SIGNS)


def _described(jpeg: bytes) -> bytes:
    """What a map says about itself; not how it lies, nor JFIF, which the encoder writes."""
    return b"".join(
        packed(marker, payload)
        for marker, _, payload in head_segments(jpeg)
        if _APP1 <= marker <= _APP15 and not payload.startswith((_EXIF_HEAD, _INDEX_HEAD, b"Adobe"))
    )


def _index(*entries: tuple[int, int], attribute: int = 0) -> bytes:
    """Little-endian, one directory; entries are sizes and offsets, the first is the picture's."""
    count, place = len(entries), 8 + 2 + 3 * 12 + 4
    directory = (
        struct.pack("<HHI4s", _VERSION, 7, 4, b"0100"),
        struct.pack("<HHII", _COUNT, 4, 1, count),
        struct.pack("<HHII", _ENTRIES, 7, _ENTRY_BYTES * count, place),
    )
    images = (
        struct.pack("<IIIHH", _PRIMARY if number == 0 else attribute, *entry, 0, 0)
        for number, entry in enumerate(entries)
    )
    head = struct.pack("<2sHIH", b"II", 42, 8, len(directory))
    return b"".join((head, *directory, bytes(4), *images))

"""XMP of more than a segment: the rest of a JPEG's packet, in segments of its own; pure.

The packet names the rest by its MD5, and each segment repeats that name (Adobe's XMP
specification, part 3, 1.1.3.1). Phones keep depth maps and their cameras' notes there.
"""

from __future__ import annotations

import hashlib
import re
import struct

from service.jpeg_segments import MOST_PAYLOAD_BYTES, head_segments, packed

__all__ = ["XMP_HEAD", "extension_of", "extension_segments", "naming"]

XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_HEAD = b"http://ns.adobe.com/xmp/extension/\0"
_APP1 = 0xE1
_NAME_BYTES = 32
_PLACE = struct.Struct(">II")  # the whole length, and where a part belongs
_NOTE = re.compile(
    rb"""\s?\bxmpNote:HasExtendedXMP\s*=\s*(?:"(?P<one>\w{32})"|'(?P<other>\w{32})')"""
    rb"""|<xmpNote:HasExtendedXMP>\s*(?P<inner>\w{32})\s*</xmpNote:HasExtendedXMP>"""
)


def extension_of(encoded: bytes, xmp: bytes) -> bytes | None:
    """The rest of a JPEG's packet; None where there is none, or not all of it."""
    note = _NOTE.search(xmp)
    if note is None:
        return None
    name = next(each for each in note.groups() if each)
    parts: dict[int, bytes] = {}
    whole_bytes = 0
    for marker, _, payload in head_segments(encoded):
        if marker != _APP1 or not payload.startswith(_HEAD + name):
            continue
        start = len(_HEAD) + _NAME_BYTES
        if len(payload) < start + _PLACE.size:
            return None
        whole_bytes, at = _PLACE.unpack_from(payload, start)
        parts[at] = payload[start + _PLACE.size :]
    extension = b"".join(part for _, part in sorted(parts.items()))
    is_whole = len(extension) == whole_bytes and _name_of(extension) == name.upper()
    return extension if extension and is_whole else None


def naming(xmp: bytes, extension: bytes | None) -> bytes:
    """The packet with the name of this extension, or of none."""

    def renamed(note: re.Match[bytes]) -> bytes:
        if extension is None:
            return b""
        name = next(each for each in note.groups() if each)
        return note[0].replace(name, _name_of(extension))

    return _NOTE.sub(renamed, xmp)


def extension_segments(extension: bytes) -> bytes:
    """The segments that hold it."""
    head = _HEAD + _name_of(extension)
    most = MOST_PAYLOAD_BYTES - len(head) - _PLACE.size
    return b"".join(
        packed(_APP1, head + _PLACE.pack(len(extension), at) + extension[at : at + most])
        for at in range(0, len(extension), most)
    )


def _name_of(extension: bytes) -> bytes:
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()

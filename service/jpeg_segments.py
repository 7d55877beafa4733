"""The segments of a JPEG: what cameras and editors say before its pixels, and its scans; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["MOST_PAYLOAD_BYTES", "has_more_scans", "head_segments", "packed", "segments"]

MOST_PAYLOAD_BYTES = 65_533
_APP0, _APP15, _COMMENT = 0xE0, 0xEF, 0xFE
_SCAN, _END = 0xDA, 0xD9
# One with a length, or the end; others are stuffed zeros, restarts, or stand alone.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)


def segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, place and end of each segment before the pixels; ends quietly where it is damaged.

    The place is that of the 0xFF, from which the payload is 4 bytes away.
    """
    at = 2
    while at + 4 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF:  # any number of these may fill the space before a marker
            at += 1
            continue
        if marker in (_SCAN, _END):
            return
        end = at + 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(encoded):
            return
        yield marker, at, end
        at = end


def head_segments(encoded: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, place and payload of each APPn and comment segment, see `segments`."""
    for marker, at, end in segments(encoded):
        if _APP0 <= marker <= _APP15 or marker == _COMMENT:
            yield marker, at, encoded[at + 4 : end]


def has_more_scans(encoded: bytes, than: int) -> bool:
    """Whether the first picture has; what lies behind its end may be anything, a video say."""
    if encoded.count(bytes((0xFF, _SCAN))) <= than:
        return False
    scans, at = 0, 2
    while (found := _MARKER.search(encoded, at)) is not None:
        marker, at = encoded[found.end() - 1], found.end()
        if marker == _END:
            break
        scans += marker == _SCAN
        if scans > than:
            return True
        at += int.from_bytes(encoded[at : at + 2], "big")
    return False


def packed(marker: int, payload: bytes) -> bytes:
    """A segment; the payload has at most `MOST_PAYLOAD_BYTES`."""
    assert len(payload) <= MOST_PAYLOAD_BYTES, "it does not fit into a segment"
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload

"""The marker segments before a JPEG's pixels: what cameras and editors say about it; pure."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["MOST_PAYLOAD_BYTES", "head_segments", "packed"]

MOST_PAYLOAD_BYTES = 65_533
_APP0, _APP15, _COMMENT = 0xE0, 0xEF, 0xFE
_SCAN, _END = 0xDA, 0xD9


def head_segments(encoded: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, place and payload of each APPn and comment segment; ends quietly where it is damaged.

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
        if _APP0 <= marker <= _APP15 or marker == _COMMENT:
            yield marker, at, encoded[at + 4 : end]
        at = end


def packed(marker: int, payload: bytes) -> bytes:
    """A segment; the payload has at most `MOST_PAYLOAD_BYTES`."""
    assert len(payload) <= MOST_PAYLOAD_BYTES, "it does not fit into a segment"
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload

"""The segments of a JPEG: what cameras and editors say before its pixels, and its scans; pure."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["MOST_PAYLOAD_BYTES", "has_more_scans", "head_segments", "packed"]

MOST_PAYLOAD_BYTES = 65_533
_APP0, _APP15, _COMMENT = 0xE0, 0xEF, 0xFE
_SCAN, _START, _END = 0xDA, 0xD8, 0xD9
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD8), _START))  # these have no length


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


def has_more_scans(encoded: bytes, than: int) -> bool:
    """Whether the first picture has; what lies behind its end may be anything, a video say."""
    if encoded.count(bytes((0xFF, _SCAN))) <= than:
        return False
    scans, at = 0, encoded.find(b"\xff", 2)
    while 0 <= at < len(encoded) - 1 and (marker := encoded[at + 1]) != _END:
        if marker == 0xFF:
            at += 1
            continue
        scans += marker == _SCAN
        if scans > than:
            return True
        at += 2
        if marker not in _ALONE:
            at += int.from_bytes(encoded[at : at + 2], "big")
        at = encoded.find(b"\xff", at)
    return False


def packed(marker: int, payload: bytes) -> bytes:
    """A segment; the payload has at most `MOST_PAYLOAD_BYTES`."""
    assert len(payload) <= MOST_PAYLOAD_BYTES, "it does not fit into a segment"
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload

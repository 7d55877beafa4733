"""Captions: IPTC and the few of Photoshop's resource blocks that say something; pure.

Editors keep headline, author and rights there, in a JPEG's APP13 or two tags of a TIFF. Blocks that
describe how the old file looked (thumbnails, guides, resolution) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["APP13", "APP13_HEAD", "captions_of_iptc", "iptc_of", "kept_captions", "without_place"]

APP13 = 0xED
APP13_HEAD = b"Photoshop 3.0\0"
_IPTC, _COPYRIGHT_FLAG, _URL, _IPTC_DIGEST = 0x0404, 0x040A, 0x040B, 0x0425
_KEPT = frozenset({_IPTC, _COPYRIGHT_FLAG, _URL, _IPTC_DIGEST})
_ENVELOPE_MARK, _LONGEST_PLAIN = 0x1C, 0x7FFF
# Of record 2: content location code and name, city, sublocation, state, country code and name.
_PLACES = frozenset({26, 27, 90, 92, 95, 100, 101})


def kept_captions(blocks: bytes) -> bytes | None:
    """Photoshop's resource blocks without what is not kept; None where nothing is left."""
    kept = [_packed(number, content) for number, content in _blocks(blocks) if number in _KEPT]
    return b"".join(kept) or None


def captions_of_iptc(iptc: bytes) -> bytes:
    """Resource blocks that hold this IPTC."""
    return _packed(_IPTC, iptc)


def iptc_of(captions: bytes) -> bytes | None:
    """The IPTC in resource blocks."""
    return next((content for number, content in _blocks(captions) if number == _IPTC), None)


def without_place(captions: bytes) -> bytes | None:
    """Without the names of places; IPTC that cannot be read to its end is cut there."""
    kept = []
    for number, content in _blocks(captions):
        if number == _IPTC:
            kept.append(_packed(number, b"".join(_placeless(content))))
        elif number != _IPTC_DIGEST:  # of the IPTC as it was
            kept.append(_packed(number, content))
    return b"".join(kept) or None


def _blocks(blocks: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while blocks.startswith(b"8BIM", at) and at + 12 <= len(blocks):
        number = int.from_bytes(blocks[at + 4 : at + 6], "big")
        name_bytes = blocks[at + 6] + 1
        size_at = at + 6 + name_bytes + name_bytes % 2
        start = size_at + 4
        end = start + int.from_bytes(blocks[size_at:start], "big")
        if end > len(blocks):
            return
        yield number, blocks[start:end]
        at = end + (end - start) % 2


def _packed(number: int, content: bytes) -> bytes:
    head = b"8BIM" + number.to_bytes(2, "big") + bytes(2) + len(content).to_bytes(4, "big")
    return head + content + bytes(len(content) % 2)


def _placeless(iptc: bytes) -> Iterator[bytes]:
    at = 0
    while at + 5 <= len(iptc) and iptc[at] == _ENVELOPE_MARK:
        size = int.from_bytes(iptc[at + 3 : at + 5], "big")
        if size > _LONGEST_PLAIN:  # the size of a size: for fields that no caption has
            return
        end = at + 5 + size
        if end > len(iptc):
            return
        if not (iptc[at + 1] == 2 and iptc[at + 2] in _PLACES):
            yield iptc[at:end]
        at = end

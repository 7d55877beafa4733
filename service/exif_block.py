"""An EXIF block, edited where it lies: what stays does not move; pure.

Makers' notes may hold offsets from the start of the block, which only the maker knows. In a block
that is written anew they lead anywhere, and the notes say nonsense. So entries are taken out of a
directory, and what they led to becomes zeros, but nothing behind them moves up.

Blocks are a TIFF's header and directories, after `Exif\\0\\0` or not. Every function raises
`ValueError` or `struct.error` for one that is damaged.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["EXIF_HEAD", "GPS", "Directory", "DirectoryEntry", "directory_of", "kept", "resized"]

EXIF_HEAD = b"Exif\0\0"
GPS = 0x8825

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SHORT, _LONG = 3, 4
_EXIF = 0x8769
_MAKER_NOTE, _INTEROPERABILITY = 0x927C, 0xA005
_WIDTH, _HEIGHT = 0xA002, 0xA003
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_ENTRY_BYTES = 12


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """`at` is its place, `value_at` its value's, which is the place itself if that is small."""

    at: int
    tag: int
    kind: int
    count: int
    value_at: int
    value_bytes: int


@dataclass(frozen=True, slots=True)
class Directory:
    """`order` is struct's sign of the byte order, `following` the place of the next directory."""

    order: str
    at: int
    entries: tuple[DirectoryEntry, ...]
    following: int


def kept(exif: bytes, without: Collection[int]) -> bytes | None:
    """Without the thumbnail and these tags of the first directory; None where nothing is left."""
    block = bytearray(exif.removeprefix(EXIF_HEAD))
    first = directory_of(block)
    if first.following:
        _drop_thumbnail(block, directory_of(block, first.following))
    for entry in first.entries:
        if entry.tag == GPS and GPS in without:
            gps = directory_of(block, _number(block, first.order, entry))
            _drop_entries(block, gps, {each.tag for each in gps.entries})
    _drop_entries(block, first, without)
    _follow(block, directory_of(block), 0)
    if not directory_of(block).entries:
        return None
    _cut_end(block)
    return EXIF_HEAD + bytes(block)


def resized(exif: bytes, size_px: tuple[int, int]) -> bytes:
    """With the (height, width) of the picture where it says one."""
    block = bytearray(exif.removeprefix(EXIF_HEAD))
    for entry in directory_of(block).entries:
        if entry.tag != _EXIF:
            continue
        details = directory_of(block, _number(block, directory_of(block).order, entry))
        for detail in details.entries:
            if detail.tag in (_WIDTH, _HEIGHT) and detail.count == 1:
                side_px = size_px[0] if detail.tag == _HEIGHT else size_px[1]
                # A LONG has room for every picture, in the same four bytes.
                struct.pack_into(f"{details.order}HII", block, detail.at + 2, _LONG, 1, side_px)
    return EXIF_HEAD + bytes(block)


def directory_of(block: bytes | bytearray, at: int | None = None) -> Directory:
    """The directory at a place of a block without head; the first one where none is given."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        raise ValueError("no byte order")
    if at is None:
        at = struct.unpack_from(f"{order}I", block, 4)[0]
    entries = []
    count = struct.unpack_from(f"{order}H", block, at)[0]
    for number in range(count):
        place = at + 2 + _ENTRY_BYTES * number
        tag, kind, size = struct.unpack_from(f"{order}HHI", block, place)
        value_bytes = _TYPE_BYTES.get(kind, 1) * size
        value_at = place + 8
        if value_bytes > 4:
            value_at = struct.unpack_from(f"{order}I", block, place + 8)[0]
        if value_at + value_bytes > len(block):
            raise ValueError(f"tag {tag} leads out of the block")
        entries.append(DirectoryEntry(place, tag, kind, size, value_at, value_bytes))
    led_to = [entry.tag for entry in entries if entry.tag in (_EXIF, GPS, _INTEROPERABILITY)]
    if len(led_to) > len(set(led_to)):
        raise ValueError("it leads to several directories of a kind")
    end = at + 2 + _ENTRY_BYTES * count
    # Some writers leave out the last pointer at the end of a block.
    following = struct.unpack_from(f"{order}I", block, end)[0] if end + 4 <= len(block) else 0
    return Directory(order, at, tuple(entries), following)


def _drop_thumbnail(block: bytearray, directory: Directory) -> None:
    numbers = {
        entry.tag: _number(block, directory.order, entry)
        for entry in directory.entries
        if entry.tag in (_THUMBNAIL, _THUMBNAIL_BYTES)
    }
    start = numbers.get(_THUMBNAIL, 0)
    end = start + numbers.get(_THUMBNAIL_BYTES, 0)
    if 8 < start < end <= len(block):
        block[start:end] = bytes(end - start)
    _drop_entries(block, directory, {entry.tag for entry in directory.entries})


def _cut_end(block: bytearray) -> None:
    """Behind all that is led to; only a maker's notes may know of more there, but of no zeros."""
    tags, end = _tags_and_end(block, directory_of(block))
    if _MAKER_NOTE in tags:
        end = max(end, len(block.rstrip(b"\0")))
    del block[end:]


def _tags_and_end(
    block: bytearray, directory: Directory, inner: Collection[int] = (_EXIF, GPS)
) -> tuple[set[int], int]:
    tags = {entry.tag for entry in directory.entries}
    end = directory.at + 2 + _ENTRY_BYTES * len(directory.entries) + 4
    for entry in directory.entries:
        end = max(end, entry.value_at + entry.value_bytes)
        if entry.tag in inner:
            led_to = directory_of(block, _number(block, directory.order, entry))
            inner_tags, inner_end = _tags_and_end(
                block, led_to, (_INTEROPERABILITY,) if entry.tag == _EXIF else ()
            )
            tags, end = tags | inner_tags, max(end, inner_end)
    return tags, end


def _drop_entries(block: bytearray, directory: Directory, without: Collection[int]) -> None:
    """The directory keeps its room; what follows it is told again behind the last entry."""
    leaving = [entry for entry in directory.entries if entry.tag in without]
    staying = b"".join(
        block[entry.at : entry.at + _ENTRY_BYTES]
        for entry in directory.entries
        if entry.tag not in without
    )
    wiped_to = 0
    for entry in sorted(leaving, key=lambda entry: entry.value_at):  # values may overlap
        start, end = max(entry.value_at, wiped_to), entry.value_at + entry.value_bytes
        if entry.value_bytes > 4 and start < end:
            block[start:end] = bytes(end - start)
            wiped_to = end
    room = 2 + _ENTRY_BYTES * len(directory.entries)
    head = struct.pack(f"{directory.order}H", len(staying) // _ENTRY_BYTES) + staying
    block[directory.at : directory.at + room] = head.ljust(room, b"\0")
    _follow(block, directory_of(block, directory.at), directory.following)


def _follow(block: bytearray, directory: Directory, following: int) -> None:
    end = directory.at + 2 + _ENTRY_BYTES * len(directory.entries)
    if end + 4 <= len(block):
        struct.pack_into(f"{directory.order}I", block, end, following)


def _number(block: bytes | bytearray, order: str, entry: DirectoryEntry) -> int:
    kind = "H" if entry.kind == _SHORT else "I"
    number: int = struct.unpack_from(f"{order}{kind}", block, entry.value_at)[0]
    return number

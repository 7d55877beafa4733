"""How many pages a TIFF has: its directories, each of which leads to the next; pure."""

from __future__ import annotations

import struct

__all__ = ["count_pages"]

_BIG_TIFF = 43


def count_pages(tiff: bytes, most: int) -> int:
    """The pages, counted up to `most`; damaged files have those that can be reached."""
    order = "<" if tiff.startswith(b"II") else ">"
    is_big = struct.unpack_from(f"{order}H", tiff, 2)[0] == _BIG_TIFF
    count_kind, entry_bytes, place_kind = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    at_place = 8 if is_big else 4  # where the next directory is told
    seen: set[int] = set()
    while len(seen) < most:
        try:
            at = struct.unpack_from(f"{order}{place_kind}", tiff, at_place)[0]
            if at == 0 or at in seen:
                break
            entries = struct.unpack_from(f"{order}{count_kind}", tiff, at)[0]
        except (struct.error, OverflowError):  # beyond the end, or any memory
            break
        seen.add(at)
        at_place = at + struct.calcsize(f"={count_kind}") + entry_bytes * entries
    return len(seen)

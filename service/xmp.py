"""What XMP says and a new file must not: where a picture was taken, what is no longer behind it.

Packets come from strangers and may have megabytes, and no other thread runs while an expression is
searched for. So each one here takes time in proportion to the packet, whatever is in it: it reads
on from a sign that it cannot itself run over (`<`, or a single space before a name).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict

__all__ = [
    "is_of_motion_photo",
    "without_gain_map",
    "without_motion_photo",
    "without_place",
]

_VALUE = rb"""\s*=\s*(?:"[^"<]*"|'[^'<]*')"""
_PLACE = (  # of any name space: drones have their own
    rb"[\w-]+:G[Pp][Ss]\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:(?:Location|CountryCode)"
)
_PLACE_ATTRIBUTE = re.compile(rb"\s(?:%s)%s" % (_PLACE, _VALUE))
_PLACE_START = re.compile(rb"<(%s|Iptc4xmpExt:Location\w+)\b[^<>]*>" % _PLACE)
_PLACE_END = re.compile(rb"</(%s|Iptc4xmpExt:Location\w+)\s*>" % _PLACE)
_GAIN_MAP = re.compile(rb"\shdrgm:\w+%s" % _VALUE)
_MOTION = re.compile(rb"\s\w+:MotionPhoto\w*%s" % _VALUE)
_IS_MOTION = re.compile(rb""":MotionPhoto\s*=\s*["']1""")
# One file behind the picture, in the directory of them.
_ITEM = re.compile(rb"<rdf:li\b[^<>]*>\s*<Container:Item\b([^<>]*)/>\s*</rdf:li>")


def without_place(packet: bytes) -> bytes:
    """Without what says where the picture was taken."""
    packet = _PLACE_ATTRIBUTE.sub(b"", packet)
    ends: dict[bytes, list[int]] = defaultdict(list)
    for end in _PLACE_END.finditer(packet):
        ends[end[1]].append(end.end())
    kept, at = [], 0
    for start in _PLACE_START.finditer(packet):
        if start.start() < at:
            continue
        if start[0].endswith(b"/>"):
            end_at = start.end()
        else:
            own = ends[start[1]]
            after = bisect_right(own, start.start())
            if after == len(own):
                continue
            end_at = own[after]
        kept.append(packet[at : start.start()])
        at = end_at
    return b"".join((*kept, packet[at:]))


def without_gain_map(packet: bytes) -> bytes:
    """Without the announcement of an HDR gain map."""
    return _without_item(_GAIN_MAP.sub(b"", packet), b"GainMap")


def without_motion_photo(packet: bytes) -> bytes:
    """Without the announcement of a motion photo's video."""
    return _without_item(_MOTION.sub(b"", packet), b"MotionPhoto")


def is_of_motion_photo(packet: bytes) -> bool:
    """Whether it announces a video behind the picture."""
    return _IS_MOTION.search(packet) is not None


def _without_item(packet: bytes, kind: bytes) -> bytes:
    quoted = (b'"%s"' % kind, b"'%s'" % kind)
    return _ITEM.sub(
        lambda item: b"" if any(each in item[1] for each in quoted) else item[0], packet
    )

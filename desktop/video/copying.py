"""Packets that are copied: in an order that the container takes, and without damaged ones."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from av import InvalidDataError, Packet
from av.container import OutputContainer
from av.stream import Stream

from desktop.video.covers import is_cover

__all__ = ["CopiedStream", "in_words"]

_MOST_REFUSED = 100  # packets of a stream of which none was taken: it cannot be damage
_LETS_TIMES_BE_EQUAL = 0x20000  # AVFMT_TS_NONSTRICT, a format's flag


class CopiedStream:
    """A stream on its way from one file into another.

    Attributes:
        output: the stream in the new file.
        damaged: how many of its packets were left out because they are damaged.
        refusal: why none was taken so far, or None.
        begins_s: when the first one that was taken is decoded, in seconds, or None.
    """

    def __init__(self, container: OutputContainer, output: Stream, *, has_adts: bool) -> None:
        """Args:
        has_adts: whether each packet begins with a header, as AAC has it in broadcasts.
        """
        self.output = output
        self.damaged = 0
        self.refusal: InvalidDataError | None = None
        self.begins_s: Fraction | None = None
        self._container = container
        self._has_adts = has_adts
        self._is_begun = False
        self._last_dts: int | None = None
        # Most containers refuse two packets of picture or sound at one time.
        is_strict = not container.format.flags & _LETS_TIMES_BE_EQUAL
        self._least_step = int(is_strict and output.type in ("audio", "video"))

    def write(self, packet: Packet[Any]) -> None:
        """Writes the next packet; one that is damaged is left out and counted.

        Raises:
            OSError: the disk is full.
            FFmpegError: the container refuses it, or all of the stream.
        """
        # Muxers see by the first packet whether there are headers to take off.
        if self._has_adts and not self._is_begun and not _begins_with_adts(packet):
            self.damaged += 1
            return
        self._keep_order(packet)
        packet.stream = self.output
        try:
            self._container.mux_one(packet)
        except InvalidDataError as exc:
            self.damaged += 1
            if not self._is_begun:
                self.refusal = exc
                if self.damaged >= _MOST_REFUSED:
                    raise
            return
        self._is_begun, self.refusal = True, None
        if self.begins_s is None and packet.dts is not None:
            self.begins_s = packet.dts * packet.time_base

    def _keep_order(self, packet: Packet[Any]) -> None:
        """Some files have packets that go back in time."""
        if packet.dts is None and self.output.type == "video":
            return  # Matroska does not tell it of the first ones before B-frames; FFmpeg finds it
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.dts is None:
            return
        assert self.output.time_base is not None, "the file is begun"
        tick = self.output.time_base / packet.time_base
        now = _nearest(packet.dts / tick)
        least = now if self._last_dts is None else self._last_dts + self._least_step
        if now < least:
            # In the output's ticks: those of the input may be too coarse for one after another.
            pts, duration = packet.pts, packet.duration or 0
            packet.time_base, packet.dts = self.output.time_base, least
            packet.pts = least if pts is None else max(_nearest(pts / tick), least)
            packet.duration = _nearest(duration / tick)
            now = least
        self._last_dts = now


def in_words(stream: Stream) -> str:
    """Such as `audio aac` or `cover picture png`."""
    kind = "cover picture" if is_cover(stream) else stream.type
    return f"{kind} {stream.name or ''}".strip()


def _begins_with_adts(packet: Packet[Any]) -> bool:
    head = bytes(packet)[:2]
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xF0 == 0xF0


def _nearest(ticks: Fraction) -> int:
    """Rounded as FFmpeg does it: halves away from 0."""
    return math.floor(ticks + Fraction(1, 2)) if ticks >= 0 else math.ceil(ticks - Fraction(1, 2))

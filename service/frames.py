"""The WebSocket wire format, version 1, pure: bytes <-> Frame and Result. See docs/protocol.md.

Both directions are here, so that clients in Python can use them as well. All numbers are big-
endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from service.errors import FrameInvalid

__all__ = [
    "FRAME_HEADER_BYTES",
    "PROTOCOL_VERSION",
    "RESULT_HEADER_BYTES",
    "Frame",
    "FrameFormat",
    "Result",
    "pack_frame",
    "pack_result",
    "parse_frame",
    "parse_result",
]

PROTOCOL_VERSION = 1
FrameFormat = Literal["jpeg", "webp", "png"]

_MAGIC = b"CC"
_KIND_FRAME = 1
_KIND_RESULT = 2
_JPEG_START = b"\xff\xd8"
_FORMATS: tuple[FrameFormat, ...] = ("jpeg", "webp", "png")  # the index is the wire code

# magic, version, kind, sequence, client timestamp
_FRAME_HEADER = struct.Struct(">2sBBId")
# the same, then width, height, frames dropped, five stage times, format, student, scale, still
_RESULT_HEADER = struct.Struct(">2sBBIdHHI5f4B")

FRAME_HEADER_BYTES = _FRAME_HEADER.size
RESULT_HEADER_BYTES = _RESULT_HEADER.size


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as the client sent it.

    `sequence` is None for a bare JPEG, which the server numbers itself. `client_timestamp_ms` is of
    any clock; it is echoed, never read.
    """

    sequence: int | None
    client_timestamp_ms: float
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """One sharpened frame as the server sends it, with the times of the stages in the server.

    `student_code` is an index into the students of the server's hello; `scale_percent` the share of
    width and height that the network worked at; `still_percent` the share of the picture whose last
    correction was used again.
    """

    sequence: int
    client_timestamp_ms: float
    width_px: int
    height_px: int
    frames_dropped: int
    queue_ms: float
    decode_ms: float
    inference_ms: float
    encode_ms: float
    total_ms: float
    format: FrameFormat
    encoded: bytes
    student_code: int = 0
    scale_percent: int = 100
    still_percent: int = 0


def parse_frame(message: bytes) -> Frame:
    """Reads one binary message of a client. Of the picture only the first two bytes are looked at.

    Raises:
        FrameInvalid: Neither a JPEG nor a header of this version followed by a JPEG.
    """
    if message.startswith(_JPEG_START):
        return Frame(sequence=None, client_timestamp_ms=0.0, encoded=message)
    if len(message) < FRAME_HEADER_BYTES or not message.startswith(_MAGIC):
        raise FrameInvalid(
            "A frame is a JPEG (it starts with FF D8), alone or behind a 16-byte header that "
            f"starts with 'CC'; this message of {len(message)} bytes starts with "
            f"{_start_of(message)}."
        )
    _, version, kind, sequence, client_timestamp_ms = _FRAME_HEADER.unpack_from(message)
    if version != PROTOCOL_VERSION:
        raise FrameInvalid(
            f"The frame's header has protocol version {version}; this server speaks version "
            f"{PROTOCOL_VERSION}."
        )
    if kind != _KIND_FRAME:
        raise FrameInvalid(
            f"The header's kind is {kind}; a client sends kind {_KIND_FRAME}.", sequence=sequence
        )
    encoded = message[FRAME_HEADER_BYTES:]
    if not encoded.startswith(_JPEG_START):
        raise FrameInvalid(
            "What follows the frame's header is not a JPEG: it should start with FF D8 and starts "
            f"with {_start_of(encoded)}.",
            sequence=sequence,
        )
    return Frame(sequence=sequence, client_timestamp_ms=client_timestamp_ms, encoded=encoded)


def pack_frame(frame: Frame) -> bytes:
    """Writes a frame as a client sends it: with the header, or bare if it has no number."""
    if frame.sequence is None:
        return frame.encoded
    header = _FRAME_HEADER.pack(
        _MAGIC, PROTOCOL_VERSION, _KIND_FRAME, frame.sequence, frame.client_timestamp_ms
    )
    return header + frame.encoded


def pack_result(result: Result) -> bytes:
    """Writes a result as the server sends it."""
    header = _RESULT_HEADER.pack(
        _MAGIC,
        PROTOCOL_VERSION,
        _KIND_RESULT,
        result.sequence,
        result.client_timestamp_ms,
        result.width_px,
        result.height_px,
        result.frames_dropped,
        result.queue_ms,
        result.decode_ms,
        result.inference_ms,
        result.encode_ms,
        result.total_ms,
        _FORMATS.index(result.format),
        result.student_code,
        result.scale_percent,
        result.still_percent,
    )
    return header + result.encoded


def parse_result(message: bytes) -> Result:
    """Reads one binary message of the server.

    Raises:
        FrameInvalid: Not a result of this protocol version.
    """
    if len(message) < RESULT_HEADER_BYTES or not message.startswith(_MAGIC):
        raise FrameInvalid(
            "A result starts with a 48-byte header, and that with 'CC'; this message does not."
        )
    _, version, kind, *fields, code, student, scale, still = _RESULT_HEADER.unpack_from(message)
    if version != PROTOCOL_VERSION or kind != _KIND_RESULT or code >= len(_FORMATS):
        raise FrameInvalid(
            f"Version {version}, kind {kind}, format {code} is not a result of protocol version "
            f"{PROTOCOL_VERSION}.",
        )
    encoded = message[RESULT_HEADER_BYTES:]
    # The header's fields are in the order of Result's.
    return Result(*(*fields, _FORMATS[code], encoded, student, scale, still))


def _start_of(data: bytes) -> str:
    return data[:2].hex(" ").upper() or "nothing"

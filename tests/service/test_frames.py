"""service.frames: the wire format against bytes written by hand, and against arbitrary bytes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import FrameInvalid
from service.frames import (
    FRAME_HEADER_BYTES,
    RESULT_HEADER_BYTES,
    Frame,
    Result,
    pack_frame,
    pack_result,
    parse_frame,
    parse_result,
)

JPEG = b"\xff\xd8\xff\xe0 and so on"
HEADER = bytes.fromhex("43 43 01 01 00 00 00 2a 40 8f 40 00 00 00 00 00")  # sequence 42, 1000.0 ms

f32 = st.floats(0, 1e6, width=32)


def test_a_frame_header_is_16_bytes_and_a_result_header_48() -> None:
    assert (FRAME_HEADER_BYTES, RESULT_HEADER_BYTES) == (16, 48)


def test_a_bare_jpeg_is_a_frame_without_number_and_time() -> None:
    assert parse_frame(JPEG) == Frame(None, 0.0, JPEG)


def test_a_header_written_by_hand_is_read() -> None:
    assert parse_frame(HEADER + JPEG) == Frame(42, 1000.0, JPEG)


def test_a_frame_is_written_as_by_hand() -> None:
    assert pack_frame(Frame(42, 1000.0, JPEG)) == HEADER + JPEG
    assert pack_frame(Frame(None, 0.0, JPEG)) == JPEG


def test_a_result_is_written_as_by_hand() -> None:
    result = Result(42, 1000.0, 640, 360, 7, 0.5, 1.0, 2.0, 4.0, 8.0, "webp", b"RIFF", 2, 75, 33)
    by_hand = bytes.fromhex(
        "43 43 01 02 00 00 00 2a 40 8f 40 00 00 00 00 00"
        "02 80 01 68 00 00 00 07 3f 00 00 00 3f 80 00 00"
        "40 00 00 00 40 80 00 00 41 00 00 00 01 02 4b 21"
    )
    assert pack_result(result) == by_hand + b"RIFF"
    assert parse_result(by_hand + b"RIFF") == result


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "0 bytes starts with nothing"),
        (b"CC\x01\x01", "16-byte header"),
        (b"GIF89a plus enough bytes for a header", "starts with 47 49"),
        (HEADER.replace(b"\x01\x01", b"\x02\x01", 1) + JPEG, "version 2"),
        (HEADER.replace(b"\x01\x01", b"\x01\x02", 1) + JPEG, "kind is 2"),
        (HEADER, "not a JPEG"),
        (HEADER + b"\x89PNG", "starts with 89 50"),
    ],
)
def test_what_is_not_a_frame_is_refused_with_what_came(message: bytes, said: str) -> None:
    with pytest.raises(FrameInvalid, match=said):
        parse_frame(message)


def test_a_frame_without_a_jpeg_is_refused_by_its_number() -> None:
    with pytest.raises(FrameInvalid) as caught:
        parse_frame(HEADER + b"GIF89a")
    assert caught.value.sequence == 42


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_frame_or_frame_invalid(message: bytes) -> None:
    with contextlib.suppress(FrameInvalid):
        assert parse_frame(message).encoded.startswith(b"\xff\xd8")


@given(st.binary(max_size=16), st.integers(0, 15), st.integers(0, 255))
def test_a_header_with_one_wrong_byte_is_a_frame_or_frame_invalid(
    tail: bytes, at: int, value: int
) -> None:
    message = bytearray(HEADER + b"\xff\xd8" + tail)
    message[at] = value
    try:
        assert parse_frame(bytes(message)).encoded.endswith(tail)
    except FrameInvalid:
        assert at < 4


@given(st.integers(0, 2**32 - 1), st.binary(min_size=8, max_size=8), st.binary(max_size=50))
def test_a_client_timestamp_is_kept_to_the_bit(
    sequence: int, timestamp: bytes, tail: bytes
) -> None:
    message = b"CC\x01\x01" + struct.pack(">I", sequence) + timestamp + b"\xff\xd8" + tail
    assert pack_frame(parse_frame(message)) == message


@given(
    st.builds(
        Result,
        sequence=st.integers(0, 2**32 - 1),
        client_timestamp_ms=st.floats(allow_nan=False),
        width_px=st.integers(0, 65535),
        height_px=st.integers(0, 65535),
        frames_dropped=st.integers(0, 2**32 - 1),
        queue_ms=f32,
        decode_ms=f32,
        inference_ms=f32,
        encode_ms=f32,
        total_ms=f32,
        format=st.sampled_from(["jpeg", "webp", "png"]),
        encoded=st.binary(max_size=50),
        student_code=st.integers(0, 255),
        scale_percent=st.integers(0, 255),
        still_percent=st.integers(0, 255),
    )
)
def test_a_result_is_read_as_it_was_written(result: Result) -> None:
    assert parse_result(pack_result(result)) == result


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"CC\x01\x02" + tail))
def test_arbitrary_bytes_are_a_result_or_frame_invalid(message: bytes) -> None:
    with contextlib.suppress(FrameInvalid):
        assert message.endswith(parse_result(message).encoded)

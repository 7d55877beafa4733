"""desktop.video.frames: decoded frames brought to one size and format."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import pytest
from av import FFmpegError

from desktop.video.frames import deinterlaced

TICKS = Fraction(1, 25)


def blank(count: int, size_px: tuple[int, int], pixels: str = "yuv420p") -> list[av.VideoFrame]:
    height, width = size_px
    return [av.VideoFrame(width, height, pixels) for _ in range(count)]


def timed(frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    for number, frame in enumerate(frames):
        frame.pts, frame.duration, frame.time_base = number, 1, TICKS
        yield frame


def test_deinterlacing_goes_on_where_size_or_format_change() -> None:
    given = [*blank(3, (32, 32)), *blank(3, (48, 64)), *blank(2, (48, 64), "yuv422p")]
    made = list(deinterlaced(timed(given), TICKS))
    assert [frame.pts for frame in made] == list(range(8))
    assert [(frame.height, frame.format.name) for frame in made] == [
        (frame.height, frame.format.name) for frame in given
    ]


def test_frames_that_cannot_be_deinterlaced_are_an_error_and_not_the_end() -> None:
    with pytest.raises(FFmpegError):
        list(deinterlaced(timed(blank(3, (2, 2))), TICKS))

"""desktop.video.frames: decoded frames brought to one size and format."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av import FFmpegError
from av.video.reformatter import VideoReformatter

from desktop.video.colour import Colour
from desktop.video.frames import FrameFitter, deinterlaced, scaled
from tests.desktop.video.clips import write_clip
from tests.desktop.video.conftest import Run

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


@pytest.mark.parametrize(("before", "after", "tag"), [(360, 720, 6), (1080, 540, 1)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"], ids=["scaled", "converted"])
def test_colours_that_are_not_named_keep_their_meaning_across_720_lines(
    before: int, after: int, tag: int, pixels: str
) -> None:
    frame = av.VideoFrame(64, before, pixels)
    fitter = FrameFitter(frame, pixels="yuv420p", size_px=(after, 64), needs_even_sides=True)
    fitted = fitter.fit(frame)
    assert fitted.colorspace == tag
    assert Colour.of(fitted) == Colour.of(frame)


def test_colours_that_are_not_named_keep_their_meaning_when_lines_are_added() -> None:
    (frame,) = timed(blank(1, (719, 64)))
    fitter = FrameFitter(frame, pixels="yuv420p", size_px=(719, 64), needs_even_sides=True)
    assert Colour.of(fitter.fit(frame)) == Colour.of(frame)


def test_what_stays_on_its_side_of_720_lines_or_names_its_colours_is_not_tagged_anew() -> None:
    for height, tag, lines in ((360, 2, 700), (720, 2, 1080), (360, 9, 720)):
        frame = av.VideoFrame(64, height, "yuv420p")
        frame.colorspace = tag
        assert scaled(VideoReformatter(), frame, lines, 64, pixels="yuv420p").colorspace == tag


@pytest.mark.parametrize("option", ["--upscale 8", "--resize 1280x720!"])
def test_a_video_that_is_enlarged_past_720_lines_names_its_matrix(
    run: Run, tmp_path: Path, option: str
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=1)
    output = tmp_path / "out.mp4"
    assert run(clip, output, *option.split())["height"] == 720
    with av.open(str(output)) as made:
        assert made.streams.video[0].codec_context.colorspace == 6
        assert next(made.decode(video=0)).colorspace == 6

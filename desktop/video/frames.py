"""Decoded frames -> frames of the one size and pixel format that is encoded, and nothing else.

A frame that has both already passes as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import groupby

import cv2
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from desktop.video.colour import FULL_RANGE, matrix_at, planes_of

__all__ = ["FrameFitter", "deinterlaced", "scaled"]

_SCALING = int(Interpolation.LANCZOS | Interpolation.ACCURATE_RND)
_CONVERTING = int(
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
_HD_LINES = 720
_NO_MATRIX = 0  # of RGB


class FrameFitter:
    """Brings the frames of one video to one size and format; not thread-safe.

    Attributes:
        height, width: of the fitted frames, in px.
        changed_sizes: how many frames had another size than the first.
    """

    def __init__(
        self, first: VideoFrame, *, pixels: str, size_px: tuple[int, int], needs_even_sides: bool
    ) -> None:
        """For frames like `first`, scaled to `size_px`, (height, width), and padded to even sides
        where that is needed."""
        self._pixels = pixels
        self._source_px = first.height, first.width
        self._scaled_px = size_px
        multiple = 2 if needs_even_sides else 1
        self.height, self.width = (side + side % multiple for side in size_px)
        self.changed_sizes = 0
        self._converter = VideoReformatter()

    def fit(self, frame: VideoFrame) -> VideoFrame:
        """A frame of the size and format, with the time, tags and side data that it had."""
        if (frame.height, frame.width) != self._source_px:
            self.changed_sizes += 1
        fitted = self._converted(frame)
        if (fitted.height, fitted.width) == (self.height, self.width):
            return fitted
        return _padded(fitted, self.height, self.width)

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        height, width = self._scaled_px
        is_full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
        levels = ColorRange.JPEG if is_full else ColorRange.MPEG
        if frame.format.name == self._pixels and (frame.height, frame.width) == (height, width):
            return frame
        if frame.format.name.replace("yuvj", "yuv") == self._pixels.replace("yuvj", "yuv"):
            return scaled(self._converter, frame, height, width, pixels=self._pixels)
        is_rgb = frame.format.is_rgb or frame.format.has_palette
        matrix = Colorspace.ITU709 if height >= _HD_LINES else Colorspace.ITU601
        # RGB is given the tags that players would assume; all else keeps its own.
        result = self._converter.reformat(
            frame,
            width=width,
            height=height,
            format=self._pixels,
            dst_colorspace=matrix if is_rgb else None,
            src_color_range=ColorRange.JPEG if is_rgb else levels,
            dst_color_range=self._levels(is_full and not is_rgb),
            interpolation=_CONVERTING,
            threads=1,
        )
        if not is_rgb and matrix_at(frame, height) != frame.colorspace:
            result.colorspace = matrix_at(frame, height)
        return result

    def _levels(self, is_full: bool) -> ColorRange:
        return ColorRange.JPEG if is_full or self._pixels.startswith("yuvj") else ColorRange.MPEG


def scaled(
    converter: VideoReformatter, frame: VideoFrame, height: int, width: int, *, pixels: str
) -> VideoFrame:
    """A frame of another size; its colours are not converted, `pixels` is laid out the same. Where
    it has no matrix named, and players assume another one at that size, it gets its own named."""
    is_full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    levels = ColorRange.JPEG if is_full else ColorRange.MPEG
    result = converter.reformat(
        frame,
        width=width,
        height=height,
        format=pixels,
        src_color_range=levels,
        dst_color_range=levels,
        interpolation=_SCALING,
        threads=1,
    )
    # swscale has one name for matrices that are the same, and a range where none was named.
    result.colorspace = matrix_at(frame, height)
    if frame.color_range or is_full:
        result.color_range = int(levels)
    else:
        result.color_range = 0
    return result


def deinterlaced(frames: Iterable[VideoFrame], time_base: Fraction) -> Iterator[VideoFrame]:
    """Whole frames from frames of two fields, one for each, by FFmpeg's bwdif.

    Args:
        frames: in their order; their size and format may change on the way.
        time_base: theirs.

    Raises:
        FFmpegError: the filter takes no frames of this format.
    """
    for _, alike in groupby(
        frames, key=lambda frame: (frame.width, frame.height, frame.format.name)
    ):
        # A filter takes frames of one size and format only.
        graph: Graph | None = None
        for frame in alike:
            graph = graph or _deinterlacer(frame, time_base)
            graph.vpush(frame)
            yield from _pulled(graph, time_base)
        assert graph is not None, "a group has a frame"
        graph.vpush(None)
        yield from _pulled(graph, time_base)


def _deinterlacer(frame: VideoFrame, time_base: Fraction) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base
    )
    filtering = graph.add("bwdif", "mode=send_frame")
    sink = graph.add("buffersink")
    source.link_to(filtering)
    filtering.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):  # it wants the next one, or has no more
            return
        # The filter counts in half units, for a frame from each field.
        if frame.pts is not None and frame.time_base:
            frame.pts = round(frame.pts * frame.time_base / time_base)
            frame.duration = round(frame.duration * frame.time_base / time_base)
            frame.time_base = time_base
        yield frame


def _padded(frame: VideoFrame, height: int, width: int) -> VideoFrame:
    """Grown at the right and below by repeating the border."""
    padded = VideoFrame(width, height, frame.format.name)
    for plane, source in zip(planes_of(padded), planes_of(frame), strict=True):
        rows, columns = plane.shape[0] - source.shape[0], plane.shape[1] - source.shape[1]
        plane[...] = cv2.copyMakeBorder(source, 0, rows, 0, columns, cv2.BORDER_REPLICATE)
    padded.colorspace, padded.color_range = matrix_at(frame, height), frame.color_range
    padded.color_trc, padded.color_primaries = frame.color_trc, frame.color_primaries
    padded.pts, padded.duration = frame.pts, frame.duration
    padded.time_base = frame.time_base
    return padded
